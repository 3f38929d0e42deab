//! Run files: TOML read into plain Python values, with the place of every key and value beside them.
//!
//! The Python side (`chronofabric.fabric.settings`) checks the values and points at what is wrong in the text, so each
//! value and each key comes with its position: line, first column and the column after the last, all counted from one,
//! columns in characters. A value over several lines ends, as far as its position goes, with its first line.
//!
//! The parser is `toml_edit`, which keeps spans and limits nesting to 80 levels; that bounds the recursion here as well.

use std::ops::Range;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use toml_edit::{Array, Document, Item, Key, TableLike, Value};

/// Line, first column and the column after the last one; all from one.
type Position = (usize, usize, usize);

/// Adds the submodule `settings` to `parent`.
pub(crate) fn register(parent: &Bound<'_, PyModule>) -> PyResult<()> {
    let module = PyModule::new(parent.py(), "settings")?;
    module.add_function(wrap_pyfunction!(parse_toml, &module)?)?;
    parent.add_submodule(&module)
}

/// Reads `text` and returns the tree of values, the places of the values and the places of the keys.
#[pyfunction]
fn parse_toml<'py>(
    py: Python<'py>,
    text: &str,
    file: &str,
) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyDict>, Bound<'py, PyDict>)> {
    let lines = Lines::of(text);
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let position = lines.position(error.span().unwrap_or(text.len()..text.len()));
            return Err(syntax_error(py, file, position, error.message()));
        }
    };
    let mut reader = Reader { py, file, lines, values: PyDict::new(py), keys: PyDict::new(py), path: Vec::new() };
    let tree = reader.table(document.as_table())?;
    Ok((tree, reader.values, reader.keys))
}

/// Walks the document once; `path` is where it stands, as the keys and indices that lead there.
struct Reader<'py, 'text> {
    py: Python<'py>,
    file: &'text str,
    lines: Lines<'text>,
    values: Bound<'py, PyDict>,
    keys: Bound<'py, PyDict>,
    path: Vec<Bound<'py, PyAny>>,
}

impl<'py> Reader<'py, '_> {
    fn table(&mut self, table: &dyn TableLike) -> PyResult<Bound<'py, PyDict>> {
        let tree = PyDict::new(self.py);
        for (name, item) in table.iter() {
            let key = table.key(name);
            self.path.push(name.into_pyobject(self.py)?.into_any());
            if let Some(span) = key.and_then(Key::span) {
                self.keys.set_item(self.here()?, self.lines.position(span))?;
            }
            let place = item.span().or_else(|| key.and_then(Key::span));
            let value = self.item(item, place)?;
            self.path.pop();
            tree.set_item(name, value)?;
        }
        Ok(tree)
    }

    fn item(&mut self, item: &Item, place: Option<Range<usize>>) -> PyResult<Bound<'py, PyAny>> {
        match item {
            Item::None => Ok(self.py.None().into_bound(self.py)),
            Item::Value(value) => self.value(value, place),
            Item::Table(table) => {
                self.mark(place)?;
                Ok(self.table(table)?.into_any())
            }
            Item::ArrayOfTables(tables) => {
                self.mark(place)?;
                let list = PyList::empty(self.py);
                for (index, table) in tables.iter().enumerate() {
                    self.path.push(index.into_pyobject(self.py)?.into_any());
                    self.mark(table.span())?;
                    let value = self.table(table)?;
                    self.path.pop();
                    list.append(value)?;
                }
                Ok(list.into_any())
            }
        }
    }

    fn value(&mut self, value: &Value, place: Option<Range<usize>>) -> PyResult<Bound<'py, PyAny>> {
        self.mark(place.clone())?;
        Ok(match value {
            Value::String(text) => text.value().into_pyobject(self.py)?.into_any(),
            Value::Integer(number) => number.value().into_pyobject(self.py)?.into_any(),
            Value::Float(number) => number.value().into_pyobject(self.py)?.into_any(),
            Value::Boolean(truth) => truth.value().into_pyobject(self.py)?.to_owned().into_any(),
            Value::Datetime(instant) => self.instant(instant.value(), place)?,
            Value::Array(array) => self.array(array)?.into_any(),
            Value::InlineTable(table) => self.table(table)?.into_any(),
        })
    }

    fn array(&mut self, array: &Array) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(self.py);
        for (index, value) in array.iter().enumerate() {
            self.path.push(index.into_pyobject(self.py)?.into_any());
            let value = self.value(value, value.span())?;
            self.path.pop();
            list.append(value)?;
        }
        Ok(list)
    }

    /// A `datetime`, `date` or `time`; TOML allows a leap second, which Python cannot hold.
    fn instant(&self, instant: &toml_edit::Datetime, place: Option<Range<usize>>) -> PyResult<Bound<'py, PyAny>> {
        let class = match (instant.date, instant.time) {
            (Some(_), Some(_)) => "datetime",
            (Some(_), None) => "date",
            _ => "time",
        };
        let read = self.py.import("datetime")?.getattr(class)?.call_method1("fromisoformat", (instant.to_string(),));
        match read {
            Err(error) if error.is_instance_of::<PyValueError>(self.py) => {
                let message = format!("{instant} is not an instant that can be represented");
                Err(syntax_error(self.py, self.file, self.lines.position(place.unwrap_or(0..0)), &message))
            }
            other => other,
        }
    }

    fn here(&self) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(self.py, &self.path)
    }

    fn mark(&self, place: Option<Range<usize>>) -> PyResult<()> {
        match place {
            Some(span) => self.values.set_item(self.here()?, self.lines.position(span)),
            None => Ok(()),
        }
    }
}

/// Where each line of a text starts, to turn byte offsets into lines and columns.
struct Lines<'text> {
    text: &'text str,
    starts: Vec<usize>,
}

impl<'text> Lines<'text> {
    fn of(text: &'text str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect();
        Lines { text, starts }
    }

    fn position(&self, span: Range<usize>) -> Position {
        let line = self.starts.partition_point(|start| *start <= span.start).max(1);
        let start = self.starts[line - 1];
        let rest = self.text.get(start..).unwrap_or_default();
        let content = rest.lines().next().unwrap_or_default();
        let column = characters(content, span.start.saturating_sub(start)) + 1;
        let end = characters(content, span.end.saturating_sub(start)) + 1;
        (line, column, end.max(column + 1))
    }
}

/// How many characters of `content` begin before byte `offset`.
fn characters(content: &str, offset: usize) -> usize {
    content.char_indices().take_while(|(at, _)| *at < offset).count()
}

/// A `ConfigurationError` of the one problem that ends the reading.
fn syntax_error(py: Python<'_>, file: &str, (line, column, _): Position, message: &str) -> PyErr {
    let raised = || -> PyResult<PyErr> {
        let class = py.import("chronofabric.errors")?.getattr("ConfigurationError")?;
        let problem = (file, line, column, message, py.None());
        let arguments = PyDict::new(py);
        arguments.set_item("problems", PyList::new(py, [problem])?)?;
        let error = class.call((format!("{file}:{line}:{column}: {message}"),), Some(&arguments))?;
        Ok(PyErr::from_value(error))
    };
    raised().unwrap_or_else(|error| error)
}
