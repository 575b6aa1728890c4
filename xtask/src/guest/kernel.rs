//! Kernels for guests: Debian's packages, unpacked, never installed.
//!
//! Which packages there are, and where from, is the machine's apt configuration's business.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, bail};

use crate::workspace::run;

/// A kernel, ready to be started.
pub(crate) struct Kernel {
    /// Uncompressed.
    pub(crate) image: PathBuf,
    /// The folder `lib/modules`, with the index that modprobe reads.
    pub(crate) modules: PathBuf,
    /// As `uname -r` says it.
    pub(crate) release: String,
    /// A busybox that needs no libraries.
    pub(crate) busybox: PathBuf,
    /// For the files of a run.
    pub(crate) folder: PathBuf,
}

impl Kernel {
    /// The newest kernel of a version, `6.1` for one, that apt knows; or the one in a folder into
    /// which its packages were unpacked (`dpkg-deb -x`). `cache`: where packages are unpacked.
    pub(crate) fn find(wanted: &str, cache: &Path) -> anyhow::Result<Self> {
        let busybox = unpacked("busybox-static", cache)?.join("bin/busybox");
        let folder = if Path::new(wanted).is_dir() {
            fs::canonicalize(wanted).with_context(|| wanted.to_owned())?
        } else {
            unpacked(&package(wanted)?, cache)?
        };
        let modules = ["lib/modules", "usr/lib/modules"].map(|place| folder.join(place));
        let modules = modules.into_iter().find(|place| place.is_dir());
        let modules =
            modules.with_context(|| format!("{} holds no lib/modules", folder.display()))?;
        let release = only_entry(&modules)?;
        let kernel = Self { image: folder.join("vmlinux"), modules, release, busybox, folder };
        kernel.prepare()?;
        Ok(kernel)
    }

    /// The file of a module and, before it, of those that it needs; none for what is built in.
    pub(crate) fn module(&self, name: &str) -> anyhow::Result<Vec<PathBuf>> {
        let folder = self.modules.join(&self.release);
        let index = folder.join("modules.dep");
        let index = fs::read_to_string(&index).with_context(|| index.display().to_string())?;
        Ok(in_order(&index, name).into_iter().map(|file| folder.join(file)).collect())
    }

    /// Once for each: what is slow to do in a guest.
    fn prepare(&self) -> anyhow::Result<()> {
        let folder = self.modules.join(&self.release);
        if !folder.join("modules.dep").is_file() {
            println!("guest: reading the modules of {} (once)", self.release);
            let mut depmod = Command::new(&self.busybox);
            let root = self.modules.ancestors().nth(2).context("lib/modules")?;
            depmod.args(["depmod", "-b"]).arg(root).arg(&self.release);
            run(&mut depmod, "depmod")?;
        }
        if !self.image.is_file() {
            let packed = [
                self.folder.join("boot").join(format!("vmlinuz-{}", self.release)),
                folder.join("vmlinuz"),
            ];
            let packed = packed.into_iter().find(|file| file.is_file());
            let packed = packed.with_context(|| {
                format!("{} holds no kernel {}", self.folder.display(), self.release)
            })?;
            let bytes = fs::read(&packed).with_context(|| packed.display().to_string())?;
            let payload = payload(&bytes)
                .with_context(|| format!("{} is no Linux for x86", packed.display()))?;
            write_whole(&self.image, &unpack(payload)?)?;
        }
        Ok(())
    }
}

/// What xz, zstd or gzip packed; other bytes as they are.
pub(crate) fn unpack(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let program = match bytes {
        [0xfd, b'7', b'z', ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x1f, 0x8b, ..] => "gzip",
        _ => return Ok(bytes.to_vec()),
    };
    let mut command = Command::new(program);
    command.args(["-d", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let mut input = child.stdin.take().context("its input")?;
    thread::scope(|scope| {
        // It writes while it reads. What stops it reading shows in its status.
        let _writer = scope.spawn(move || input.write_all(bytes).ok());
        let output = child.wait_with_output().with_context(|| program.to_owned())?;
        if !output.status.success() {
            bail!("{program} -d failed ({})", output.status);
        }
        Ok(output.stdout)
    })
}

/// The compressed kernel in a bzImage, without the length that follows it (see
/// `Documentation/arch/x86/boot.rst` in Linux).
fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let sectors = match *image.get(0x1f1)? {
        0 => 4,
        count => usize::from(count),
    };
    let start = (sectors + 1) * 512 + word(0x248)?;
    image.get(start..start + word(0x24c)?.checked_sub(4)?)
}

/// The packages' names, newest kernel last.
fn package(version: &str) -> anyhow::Result<String> {
    let mut search = Command::new("apt-cache");
    search.args(["search", "--names-only", "^linux-image-[0-9].*-amd64$"]);
    let output = search.output().context("cannot run apt-cache")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let names: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    newest(&names, version).map(ToOwned::to_owned).with_context(|| {
        format!(
            "apt knows no package linux-image-{version}.*-amd64; after `apt-get update` it may. \
             Kernels from elsewhere: unpack their packages with `dpkg-deb -x`, and name the folder"
        )
    })
}

/// The newest kernel of a version; neither those for clouds nor for real time, nor debug symbols.
fn newest<'a>(names: &[&'a str], version: &str) -> Option<&'a str> {
    let numbers = |name: &'a str| {
        let rest = name.strip_prefix("linux-image-")?.strip_suffix("-amd64")?;
        let part = rest.strip_prefix(version)?.strip_prefix('.')?;
        let plain = part.split('-').skip(1).all(|piece| piece.parse::<u32>().is_ok());
        let digits = part.split(|c: char| !c.is_ascii_digit());
        plain.then(|| digits.filter_map(|n| n.parse::<u32>().ok()).collect::<Vec<_>>())
    };
    let fitting = names.iter().filter_map(|name| Some((numbers(name)?, *name)));
    fitting.max().map(|(_, name)| name)
}

/// The folder with a package's files. Downloaded and unpacked once; no script of it runs.
pub(crate) fn unpacked(package: &str, cache: &Path) -> anyhow::Result<PathBuf> {
    let folder = cache.join(package);
    if folder.is_dir() {
        return Ok(folder);
    }
    println!("guest: downloading {package}");
    let download = cache.join("download");
    if download.exists() {
        fs::remove_dir_all(&download).with_context(|| download.display().to_string())?;
    }
    let files = download.join("files");
    fs::create_dir_all(&files).with_context(|| files.display().to_string())?;
    let mut apt = Command::new("apt-get");
    // Without its user of its own, which may not be let into this folder.
    apt.args(["-qq", "-o", "APT::Sandbox::User=root", "download", package]);
    apt.current_dir(&download).stdin(Stdio::null());
    run(&mut apt, "apt-get download").with_context(|| format!("package {package}"))?;
    let archive = fs::read_dir(&download)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|kind| kind == "deb"))
        .with_context(|| format!("apt-get brought no {package}"))?;
    run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&files), "dpkg-deb -x")?;
    // Last, and at once: a folder that is there is whole.
    fs::rename(&files, &folder).with_context(|| folder.display().to_string())?;
    fs::remove_dir_all(&download).with_context(|| download.display().to_string())?;
    Ok(folder)
}

fn only_entry(folder: &Path) -> anyhow::Result<String> {
    let names: Vec<_> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    match names.as_slice() {
        [name] => Ok(name.clone()),
        _ => bail!("{} holds {} kernels, not one", folder.display(), names.len()),
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, bytes).with_context(|| part.display().to_string())?;
    fs::rename(&part, path).with_context(|| path.display().to_string())
}

/// `index`: text of modules.dep, where each line is a module's file, a colon, and the files that it
/// needs, the last of them first.
fn in_order<'a>(index: &'a str, name: &str) -> Vec<&'a str> {
    let named = |file: &str| {
        let base = file.rsplit('/').next().unwrap_or_default();
        base.strip_prefix(name).is_some_and(|rest| rest.starts_with(".ko"))
    };
    let mut lines = index.lines().filter_map(|line| line.split_once(':'));
    let Some((file, needs)) = lines.find(|(file, _)| named(file)) else { return Vec::new() };
    needs.split_whitespace().rev().chain([file]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_of_a_version() {
        let names = [
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-50-amd64",
            "linux-image-6.1.0-51-cloud-amd64",
            "linux-image-6.1.0-52-rt-amd64",
            "linux-image-6.12-amd64",
            "linux-image-6.12.100+deb12-amd64",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.12.117+deb12-rt-amd64",
            "linux-image-amd64",
        ];
        let check = |version: &str, want: Option<&str>| {
            assert_eq!(newest(&names, version), want, "{version}");
        };
        check("6.1", Some("linux-image-6.1.0-50-amd64"));
        check("6.12", Some("linux-image-6.12.117+deb12-amd64"));
        check("6.12.100", None);
        check("6", Some("linux-image-6.12.117+deb12-amd64"));
        check("5.10", None);
    }

    #[test]
    fn modules_after_what_they_need() {
        let index = "kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs.ko.xz\n\
                     kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs.ko.xz\n\
                     kernel/fs/overlay.ko:\n";
        let check = |name: &str, want: &[&str]| assert_eq!(in_order(index, name), want, "{name}");
        check(
            "9p",
            &["kernel/fs/netfs.ko.xz", "kernel/net/9p/9pnet.ko.xz", "kernel/fs/9p/9p.ko.xz"],
        );
        check("overlay", &["kernel/fs/overlay.ko"]);
        check("virtio_pci", &[]);
    }

    #[test]
    fn the_kernel_in_its_image() {
        let mut image = vec![0; 0x800];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248] = 0x10;
        image[0x24c] = 9;
        image[0x410..0x419].copy_from_slice(b"kernel...");
        image.truncate(0x419);
        assert_eq!(payload(&image), Some(b"kerne".as_slice()));
        assert_eq!(payload(&image[..0x414]), None);
        image[0x202] = 0;
        assert_eq!(payload(&image), None);
        assert_eq!(payload(&[]), None);
    }
}
