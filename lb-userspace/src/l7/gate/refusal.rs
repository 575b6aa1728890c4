//! Why a request is refused: one list of code, name, status and meaning.

/// Declares the list.
macro_rules! refusals {
    ($($variant:ident = $code:literal, $name:literal, $status:literal, $doc:literal;)+) => {
        /// Why a request is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Refusal {
            $(#[doc = $doc] $variant = $code,)+
        }

        /// How many refusals there are.
        pub const REFUSALS: usize = [$($code),+].len();

        impl Refusal {
            /// All of them, by code.
            pub const ALL: [Self; REFUSALS] = [$(Self::$variant),+];

            /// Its name in counters and logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The status that it is answered with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $doc,)+ }
            }
        }
    };
}

refusals! {
    RequestLine = 0, "request_line", 400, "The request line is not method, target and version with one space between.";
    Method = 1, "method", 400, "The method is no token, has lower-case letters, or is too long.";
    Connect = 2, "connect", 501, "CONNECT: this is no forward proxy.";
    Target = 3, "target", 400, "The target has no form that its method allows, or a byte that no target has.";
    TargetFragment = 4, "target_fragment", 400, "The target has a fragment.";
    TargetTooLong = 5, "target_too_long", 414, "The target is too long.";
    Version = 6, "version", 505, "Another version than HTTP/1.0, 1.1 or 2.";
    BareLf = 7, "bare_lf", 400, "A line that ends without CR.";
    BareCr = 8, "bare_cr", 400, "A CR that ends no line.";
    ControlByte = 9, "control_byte", 400, "A control character in a field.";
    FieldName = 10, "field_name", 400, "A field's name is empty, or no token.";
    FieldNameSpace = 11, "field_name_space", 400, "White space between a field's name and its colon.";
    ObsFold = 12, "obs_fold", 400, "A field goes on in the next line.";
    TwinName = 13, "twin_name", 400, "A name that some read as Content-Length or Transfer-Encoding.";
    TooManyFields = 14, "too_many_fields", 431, "Too many fields.";
    HeadTooLarge = 15, "head_too_large", 431, "The head is too large.";
    NoHost = 16, "no_host", 400, "No Host.";
    SeveralHosts = 17, "several_hosts", 400, "More than one Host.";
    Host = 18, "host", 400, "A Host that is no name or address with a port, if any.";
    HostMismatch = 19, "host_mismatch", 400, "Host and target name different hosts.";
    LengthAndCoding = 20, "length_and_coding", 400, "Content-Length and Transfer-Encoding in one message.";
    SeveralLengths = 21, "several_lengths", 400, "More than one Content-Length.";
    Length = 22, "length", 400, "A Content-Length that is no plain number, or too large for one.";
    SeveralCodings = 23, "several_codings", 400, "More than one Transfer-Encoding.";
    Coding = 24, "coding", 501, "Another Transfer-Encoding than chunked.";
    CodingVersion = 25, "coding_version", 400, "Transfer-Encoding in HTTP/1.0.";
    BodyTooLarge = 26, "body_too_large", 413, "The body is too large.";
    ChunkSize = 27, "chunk_size", 400, "A chunk's size is no hexadecimal number, or has too many digits.";
    ChunkExtension = 28, "chunk_extension", 400, "Chunk extensions that are too long, or have control characters.";
    ChunkEnd = 29, "chunk_end", 400, "A chunk is longer or shorter than its size.";
    TrailersTooLarge = 30, "trailers_too_large", 431, "The trailers are too large.";
    TrailerField = 31, "trailer_field", 400, "A trailer that may only be in a head.";
    ConnectionField = 32, "connection_field", 400, "A field of the connection's in HTTP/2.";
    PseudoField = 33, "pseudo_field", 400, "HTTP/2 without a scheme, host or path that fits the method.";
    HeadTimeout = 34, "head_timeout", 408, "The head took too long.";
    BodyTimeout = 35, "body_timeout", 408, "The body took too long.";
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_count_from_zero_and_names_differ() {
        for (code, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*refusal as usize, code);
            assert!((400..600).contains(&refusal.status()), "{refusal}");
            assert!(Refusal::ALL[..code].iter().all(|other| other.name() != refusal.name()));
        }
    }
}
