//! Whether a refusal is about the size of the message, read from the texts of the servers there are.

use spanbridge_component::Code;
use spanbridge_transport::grpc::Status;

/// A refusal for the message's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge {
    /// The largest message, in bytes, if the server says.
    pub(crate) limit: Option<usize>,
}

/// Where in a text the limit stands.
#[derive(Clone, Copy)]
enum Limit {
    /// The last number of `(found vs. limit)`, otherwise the first number.
    LastOfPair,
    /// The first number after the phrase.
    First,
    /// The first number after this further phrase.
    After(&'static str),
}

/// What servers say, in lower case, and where the limit stands behind it.
const PHRASES: [(&str, Limit); 7] = [
    // grpc-go, grpc C++ and what wraps it (Python, Ruby, PHP), grpc-js, this program:
    // "grpc: received message larger than max (5242880 vs. 4194304)".
    ("message larger than max", Limit::LastOfPair),
    // grpc-go and this program: "grpc: received message after decompression larger than max 4194304", with a pair in some
    // versions.
    ("message after decompression larger than max", Limit::LastOfPair),
    // grpc-js: "Received message that decompresses to a size larger than 4194304".
    ("decompresses to a size larger than", Limit::First),
    // tonic: "Error, decoded message length too large: found 5242880 bytes, the limit is: 4194304 bytes".
    ("message length too large", Limit::After("the limit is:")),
    // grpc-java: "gRPC message exceeds maximum size 4194304: 5242880".
    ("message exceeds maximum size", Limit::First),
    ("message exceeded maximum size", Limit::First),
    // grpc-dotnet: "Received message exceeds the maximum configured message size."
    ("exceeds the maximum configured message size", Limit::First),
];

/// A proxy's answer in HTTP, as the transport words it: nginx `client_max_body_size`, Envoy's buffer limit.
const HTTP_413: &str = "unexpected http status code received from server: 413";

/// Whether `status` refuses the message for its size.
pub(crate) fn too_large(status: &Status) -> Option<TooLarge> {
    let text = status.message().to_ascii_lowercase();
    match status.code() {
        // tonic reports it as OUT_OF_RANGE.
        Code::ResourceExhausted | Code::OutOfRange => PHRASES.iter().find_map(|(phrase, limit)| {
            let (_, rest) = text.split_once(phrase)?;
            Some(TooLarge { limit: limit.read(rest) })
        }),
        // "HTTP to gRPC Status Code Mapping" has no row for 413.
        Code::Unknown if text.contains(HTTP_413) => Some(TooLarge { limit: None }),
        _ => None,
    }
}

impl Limit {
    fn read(self, rest: &str) -> Option<usize> {
        match self {
            Limit::LastOfPair => {
                let pair = rest.split_once('(').and_then(|(_, pair)| pair.split_once(')'));
                pair.and_then(|(pair, _)| numbers(pair).last()).or_else(|| numbers(rest).next())
            }
            Limit::First => numbers(rest).next(),
            Limit::After(phrase) => rest.split_once(phrase).and_then(|(_, rest)| numbers(rest).next()),
        }
        // A limit of nothing is no limit that parts could keep.
        .filter(|limit| *limit > 0)
    }
}

/// The whole numbers in a text, in order. One that is too large for the platform is left out.
fn numbers(text: &str) -> impl Iterator<Item = usize> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_in(code: Code, text: &'static str) -> Option<TooLarge> {
        too_large(&Status::new(code, text))
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is compared with an answer that may be none")]
    fn refused(limit: impl Into<Option<usize>>) -> Option<TooLarge> {
        Some(TooLarge { limit: limit.into() })
    }

    #[test]
    fn the_texts_of_real_servers_are_known_with_their_limits() {
        const LIMIT: Option<usize> = Some(4_194_304);
        let texts = [
            ("grpc: received message larger than max (5242880 vs. 4194304)", LIMIT),
            (
                "grpc: received message larger than max length allowed on current machine (5242880 vs. 4194304)",
                LIMIT,
            ),
            ("grpc: received message after decompression larger than max (5242880 vs. 4194304)", LIMIT),
            ("grpc: received message after decompression larger than max 4194304", LIMIT),
            ("grpc: message after decompression larger than max (5242880 vs. 4194304)", LIMIT),
            ("Received message larger than max (5242880 vs. 4194304)", LIMIT),
            ("SERVER: Received message larger than max (5242880 vs. 4194304)", LIMIT),
            ("Received message larger than max (5242880 vs 4194304)", LIMIT),
            ("Received message that decompresses to a size larger than 4194304", LIMIT),
            ("gRPC message exceeds maximum size 4194304: 5242880", LIMIT),
            ("Decompressed gRPC message exceeds maximum size 4194304", LIMIT),
            ("Compressed gRPC message exceeds maximum size 4194304: 4194305 bytes read", LIMIT),
            ("Received message exceeds the maximum configured message size.", None),
            // Before it is sent, in this program.
            ("trying to send message larger than max (2147483650 vs. 2147483642)", Some(2_147_483_642)),
        ];
        for (text, limit) in texts {
            assert_eq!(limit_in(Code::ResourceExhausted, text), refused(limit), "{text}");
        }
    }

    #[test]
    fn tonic_says_out_of_range() {
        let text =
            "Error, decoded message length too large: found 5242880 bytes, the limit is: 4194304 bytes";
        assert_eq!(limit_in(Code::OutOfRange, text), refused(4_194_304));
        assert_eq!(limit_in(Code::OutOfRange, "the cursor is past the end"), None);
    }

    #[test]
    fn a_proxy_says_413() {
        let text = "unexpected HTTP status code received from server: 413 (Payload Too Large); transport: received \
                    unexpected content-type \"text/html\"";
        assert_eq!(limit_in(Code::Unknown, text), refused(None));
        assert_eq!(limit_in(Code::Unknown, "413 spans were bad"), None);
    }

    #[test]
    fn other_exhaustion_and_other_codes_are_not_about_a_size() {
        for text in ["Too Many Requests", "ingestion rate limit exceeded (limit: 4194304 bytes/s)", ""] {
            assert_eq!(limit_in(Code::ResourceExhausted, text), None, "{text}");
        }
        let text = "received message larger than max (5 vs. 4)";
        assert_eq!(limit_in(Code::InvalidArgument, text), None);
    }

    #[test]
    fn a_limit_that_makes_no_sense_is_none() {
        for text in [
            "received message larger than max (5 vs. 0)",
            "received message larger than max (5 vs. 99999999999999999999999)",
            "received message larger than max (",
            "message length too large: found 5 bytes",
        ] {
            let found = limit_in(Code::ResourceExhausted, text);
            assert!(found == refused(None) || found == refused(5), "{text}: {found:?}");
        }
    }
}
