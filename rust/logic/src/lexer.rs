//! Formula text to tokens.

use crate::formula::Comparison;
use crate::suggestion;

/// A mistake and its place, in bytes; the text is joined to it at the border of the crate.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Number(f64),
    /// A keyword, or a name with its dots: `plant.pressure`.
    Word,
    Comparison(Comparison),
    Plus,
    Minus,
    Star,
    Slash,
    Arrow,
    Comma,
    LeftParenthesis,
    RightParenthesis,
    LeftBracket,
    RightBracket,
    End,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// All tokens of a text, the last one [`Kind::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(&byte) = bytes.get(start) {
        if byte.is_ascii_whitespace() {
            start += 1;
            continue;
        }
        let token = match byte {
            b'0'..=b'9' => number(text, start)?,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Token { kind: Kind::Word, start, end: word_end(bytes, start) },
            _ => symbol(text, start)?,
        };
        start = token.end;
        tokens.push(token);
    }
    tokens.push(Token { kind: Kind::End, start: text.len(), end: text.len() });
    Ok(tokens)
}

fn symbol(text: &str, start: usize) -> Result<Token, Fault> {
    let rest = &text[start..];
    let second = rest.as_bytes().get(1);
    let (kind, length) = match (rest.as_bytes()[0], second) {
        (b'<', Some(b'=')) => (Kind::Comparison(Comparison::LessEqual), 2),
        (b'>', Some(b'=')) => (Kind::Comparison(Comparison::GreaterEqual), 2),
        (b'=', Some(b'=')) => (Kind::Comparison(Comparison::Equal), 2),
        (b'!', Some(b'=')) => (Kind::Comparison(Comparison::NotEqual), 2),
        (b'-', Some(b'>')) => (Kind::Arrow, 2),
        (b'<', Some(b'>')) => return Err(unexpected(text, start)),
        (b'<', _) => (Kind::Comparison(Comparison::Less), 1),
        (b'>', _) => (Kind::Comparison(Comparison::Greater), 1),
        (b'+', _) => (Kind::Plus, 1),
        (b'-', _) => (Kind::Minus, 1),
        (b'*', _) => (Kind::Star, 1),
        (b'/', _) => (Kind::Slash, 1),
        (b',', _) => (Kind::Comma, 1),
        (b'(', _) => (Kind::LeftParenthesis, 1),
        (b')', _) => (Kind::RightParenthesis, 1),
        (b'[', _) => (Kind::LeftBracket, 1),
        (b']', _) => (Kind::RightBracket, 1),
        _ => return Err(unexpected(text, start)),
    };
    Ok(Token { kind, start, end: start + length })
}

fn unexpected(text: &str, start: usize) -> Fault {
    let rest = &text[start..];
    let advice = suggestion::for_symbol(rest);
    let length = advice.map_or_else(|| rest.chars().next().map_or(0, char::len_utf8), |(length, _)| length);
    Fault {
        start,
        end: start + length,
        message: format!("'{}' is not part of a formula", rest[..length].escape_debug()),
        suggestion: advice.map(|(_, advice)| advice.to_owned()),
    }
}

/// `digits[.digits][e[+-]digits]`; what follows is left to the next token.
fn number(text: &str, start: usize) -> Result<Token, Fault> {
    let bytes = text.as_bytes();
    let digits_end = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits_end(start);
    if bytes.get(end) == Some(&b'.') && digits_end(end + 1) > end + 1 {
        end = digits_end(end + 1);
    }
    let mantissa_end = end;
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent_start = end + 1 + sign;
        if exponent_start <= bytes.len() && digits_end(exponent_start) > exponent_start {
            end = digits_end(exponent_start);
        }
    }
    let out_of_range = |what: &str| Fault {
        start,
        end,
        message: format!("the number is too {what}"),
        suggestion: Some("magnitudes reach from about 5e-324 to 1.8e308".to_owned()),
    };
    match text[start..end].parse::<f64>() {
        Ok(value) if value.is_infinite() => Err(out_of_range("large")),
        Ok(0.0) if bytes[start..mantissa_end].iter().any(|byte| matches!(byte, b'1'..=b'9')) => {
            Err(out_of_range("small"))
        }
        Ok(value) => Ok(Token { kind: Kind::Number(value), start, end }),
        Err(_) => Err(unexpected(text, start)),
    }
}

/// Segments of letters, digits and underscores, joined by single dots, none of which starts with a digit.
fn word_end(bytes: &[u8], start: usize) -> usize {
    let is_start = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    let mut end = start;
    loop {
        end += bytes[end..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        if bytes.get(end) != Some(&b'.') || !is_start(bytes.get(end + 1)) {
            return end;
        }
        end += 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        tokens(text).unwrap().iter().map(|token| &text[token.start..token.end]).collect()
    }

    #[test]
    fn text_is_cut_at_the_longest_tokens() {
        assert_eq!(texts("a.b_1>=-2.5e-3->c"), ["a.b_1", ">=", "-", "2.5e-3", "->", "c", ""]);
        assert_eq!(texts("[0,500ms]"), ["[", "0", ",", "500", "ms", "]", ""]);
        assert_eq!(texts("1e 2e+ 3ee4"), ["1", "e", "2", "e", "+", "3", "ee4", ""]);
    }

    #[test]
    fn what_is_no_token_is_refused_with_the_way_out() {
        for (text, advice) in [
            ("a && b", "write 'and'"),
            ("a = 1", "write '=='"),
            ("a <> 1", "write '!='"),
            ("!a", "write 'not'"),
            (".5", "write numbers as '0.5' and nested fields as 'a.b'"),
            ("a \u{2264} 1", "write '<='"),
        ] {
            assert_eq!(tokens(text).unwrap_err().suggestion.as_deref(), Some(advice), "{text}");
        }
        assert!(tokens("a ; b").unwrap_err().suggestion.is_none());
    }

    #[test]
    fn numbers_beyond_a_double_are_refused() {
        assert_eq!(tokens("1e999").unwrap_err().message, "the number is too large");
        assert_eq!(tokens("1e-999").unwrap_err().message, "the number is too small");
        assert!(tokens("0e-999").is_ok());
    }
}
