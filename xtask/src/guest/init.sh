#!/bin/sh
# The first process of a guest. The host's files, read only, under a layer in memory, are its root;
# what it writes is gone with it. It runs /command there, and says with what status that ended.
#
# Serial ports: the first is the console, the second takes the command's output, the third its
# exit status.
refuse() {
    echo "guest: $1"
    poweroff -f
}
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do
    insmod "/early/$module" || echo "guest: no module $module"
done < /early/order

mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=1048576,cache=loose host /host ||
    refuse "cannot mount the host's files"
mount -t tmpfs layer /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /root ||
    refuse "cannot mount a layer over the host's files"
for folder in proc sys dev; do mount --bind "/$folder" "/root/$folder"; done
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /root/dev/pts
for folder in run tmp dev/shm; do mount -t tmpfs memory "/root/$folder"; done
mount -t bpf bpf /root/sys/fs/bpf
# The kernel looks for modules here, not in the command's root.
mount --bind "/host$(cat /modules)" /lib/modules
while read -r module; do
    modprobe "$module" || echo "guest: no module $module"
done < /wanted

for port in 1 2; do stty -F "/dev/ttyS$port" raw; done
chroot /root /bin/sh -c "$(cat /command)" < /dev/null > /dev/ttyS1 2>&1
echo "$?" > /dev/ttyS2
poweroff -f
