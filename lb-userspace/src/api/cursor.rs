//! The place in a scan, as the opaque word that a client hands back.

/// Longest position, in bytes: what a map's key or a bucket number needs, with room.
const POSITION_MAX: usize = 256;

/// The word for a position, for [`super::wire::SessionsPage::next`].
#[must_use]
pub fn encode(position: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16);
    position.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).flatten().collect()
}

/// The position that a word stands for; `None` when no page can have given it out.
pub(super) fn decode(word: &str) -> Option<Vec<u8>> {
    let digits = word.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) || digits.len() > 2 * POSITION_MAX {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_positions_and_nothing_else_is() {
        for position in [&[0][..], &[1, 0xff, 0x80], &[0; POSITION_MAX]] {
            assert_eq!(decode(&encode(position)).as_deref(), Some(position));
        }
        for word in ["", "a", "0g", "+1", "é", &"00".repeat(POSITION_MAX + 1)] {
            assert_eq!(decode(word), None, "{word}");
        }
    }
}
