//! The way out of a mistake: what the writer of a formula most likely meant.

/// Every word of the language that can stand where an operator or a function stands.
pub(crate) const WORDS: [&str; 11] =
    ["once", "historically", "since", "not", "and", "or", "implies", "abs", "min", "max", "true"];

/// Words of later versions; a formula that uses them is refused by name.
pub(crate) const FUTURE_WORDS: [&str; 5] = ["always", "eventually", "until", "next", "weak_next"];

/// "did you mean ...?" for a word that is close to one of the candidates.
pub(crate) fn nearest(word: &str, candidates: &[&'static str]) -> Option<String> {
    let lower = word.to_ascii_lowercase();
    // Longer words are not compared: no candidate is within reach, and the cost grows with the length.
    if lower.len() > 16 {
        return None;
    }
    let reach = (lower.len() / 3).clamp(1, 3);
    candidates
        .iter()
        .filter_map(|candidate| {
            let distance = if lower.len() >= 3 && candidate.starts_with(&lower) { 1 } else { edits(&lower, candidate) };
            (distance <= reach && distance < candidate.len()).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| format!("did you mean '{candidate}'?"))
}

/// The way out for a character, or a run of characters, that is no part of the language.
pub(crate) fn for_symbol(rest: &str) -> Option<(usize, &'static str)> {
    const SYMBOLS: [(&str, &str); 22] = [
        ("&&", "write 'and'"),
        ("&", "write 'and'"),
        ("||", "write 'or'"),
        ("|", "write 'or', and the absolute value as 'abs(x)'"),
        ("<>", "write '!='"),
        ("=>", "write 'implies', or '>=' for 'not less'"),
        ("=", "write '=='"),
        ("!", "write 'not'"),
        ("~", "write 'not'"),
        ("^", "powers are not in the language; write 'x * x'"),
        ("%", "remainders are not in the language"),
        (".", "write numbers as '0.5' and nested fields as 'a.b'"),
        ("\"", "signals are written without quotes"),
        ("'", "signals are written without quotes"),
        ("{", "write '('"),
        ("}", "write ')'"),
        ("\u{2264}", "write '<='"),
        ("\u{2265}", "write '>='"),
        ("\u{2260}", "write '!='"),
        ("\u{2192}", "write 'implies'"),
        ("\u{b5}s", "write 'us'"),
        ("\u{3bc}s", "write 'us'"),
    ];
    SYMBOLS.into_iter().find(|(symbol, _)| rest.starts_with(symbol)).map(|(symbol, advice)| (symbol.len(), advice))
}

/// Levenshtein distance, unsquared and unweighted, of two short words.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, left_character) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right_character) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(left_character != *right_character);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_word() {
        for (slip, word) in [("histrically", "historically"), ("hist", "historically"), ("ONCE", "once"), ("an", "and")]
        {
            assert_eq!(nearest(slip, &WORDS), Some(format!("did you mean '{word}'?")));
        }
    }

    #[test]
    fn an_unrelated_word_finds_none() {
        assert_eq!(nearest("temperature", &WORDS), None);
        assert_eq!(nearest("x", &WORDS), None);
        assert_eq!(nearest(&"a".repeat(10_000), &WORDS), None);
    }
}
