//! What notebooks show: tables of texts. Topics, names and payloads come from anywhere, so every text is escaped, and the
//! size of a table is bounded.

use pyo3::prelude::*;
use std::fmt::Write;

/// How many characters of a text a cell shows.
const CHARACTERS_MAX: usize = 400;

/// How many rows a table shows.
pub(crate) const ROWS_MAX: usize = 20;

/// Makes a table of HTML. Without columns each row begins with its name; what is more than `ROWS_MAX` is counted.
#[pyfunction(name = "html_table")]
#[pyo3(signature = (caption, rows, columns = Vec::new()), text_signature = "(caption, rows, columns=())")]
pub(crate) fn table_of_all(caption: &str, rows: Vec<Vec<String>>, columns: Vec<String>) -> String {
    let columns: Vec<_> = columns.iter().map(String::as_str).collect();
    table(caption, &columns, &rows, rows.len())
}

/// Makes a table of `count` rows, of which the first are given.
pub(crate) fn table(caption: &str, columns: &[&str], rows: &[Vec<String>], count: usize) -> String {
    let mut text = format!("<table><caption>{}</caption>", shown(caption));
    if !columns.is_empty() {
        let cells: String = columns.iter().map(|name| format!("<th>{}</th>", shown(name))).collect();
        // Writing to a text cannot fail.
        let _ = write!(text, "<tr>{cells}</tr>");
    }
    for row in rows.iter().take(ROWS_MAX) {
        text += "<tr>";
        for (place, cell) in row.iter().enumerate() {
            let tag = if columns.is_empty() && place == 0 { "th" } else { "td" };
            let _ = write!(text, "<{tag}>{}</{tag}>", shown(cell));
        }
        text += "</tr>";
    }
    if count > ROWS_MAX {
        let _ = write!(text, "<tr><td>and {} more</td></tr>", count - ROWS_MAX);
    }
    text + "</table>"
}

/// The first characters of a text, with dots for the others.
pub(crate) fn shortened(text: &str, characters_max: usize) -> String {
    if text.chars().nth(characters_max).is_none() {
        return text.to_owned();
    }
    text.chars().take(characters_max - 3).chain("...".chars()).collect()
}

fn shown(text: &str) -> String {
    let text = shortened(text, CHARACTERS_MAX);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#x27;")
}
