//! The fields of payloads as formulas read them: of mappings, paths into nested ones, and bare numbers.

use crate::columns::Table;
use crate::event_type::decref;
use crate::hot::look_up;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString};

/// A name that a formula reads, as a path of keys.
pub(crate) struct Field {
    pub(crate) name: String,
    whole: Py<PyString>,
    path: Vec<Py<PyString>>,
}

/// What a quick look at an object finds.
pub(crate) enum Glance {
    Number(f64),
    Missing,
    /// A closer look is needed.
    Unsure,
}

impl Field {
    pub(crate) fn new(py: Python<'_>, name: &str) -> Self {
        let whole = PyString::intern(py, name).unbind();
        let path = name.split('.').map(|part| PyString::intern(py, part).unbind()).collect();
        Self { name: name.to_owned(), whole, path }
    }

    /// The field of a mapping, a path into nested mappings, or, for the name `value`, a bare number.
    pub(crate) fn read(&self, object: &Bound<'_, PyAny>) -> Result<f64, String> {
        let py = object.py();
        let missing = || format!("there is no field '{}'", self.name);
        if let Ok(fields) = object.cast_exact::<PyDict>() {
            if let Ok(Some(value)) = fields.get_item(self.whole.bind(py)) {
                return self.number(&value);
            }
        } else if let Ok(number) = object.extract::<f64>() {
            return if self.name == "value" { Ok(number) } else { Err(missing()) };
        } else if object.is_instance_of::<Table>() {
            return Err("it is a table; in this version guards judge numbers and mappings".to_owned());
        }
        let mut found = object.clone();
        for key in &self.path {
            let mapping = found.cast::<PyMapping>().map_err(|_| missing())?;
            found = mapping.get_item(key.bind(py)).map_err(|_| missing())?;
        }
        self.number(&found)
    }

    fn number(&self, value: &Bound<'_, PyAny>) -> Result<f64, String> {
        value.extract::<f64>().map_err(|_| format!("field '{}' is not a number", self.name))
    }

    /// As [`Field::read`] for what is most common, a dictionary of plain numbers or such a number by itself, and without a
    /// word to PyO3.
    ///
    /// # Safety
    /// The object lives, and the thread is attached.
    #[inline]
    pub(crate) unsafe fn glance(&self, object: *mut ffi::PyObject) -> Glance {
        // SAFETY: the caller's promise.
        unsafe {
            if ffi::PyDict_CheckExact(object) == 0 {
                return match plain_number(object) {
                    Glance::Number(number) if self.path.len() == 1 && self.name == "value" => Glance::Number(number),
                    Glance::Number(_) => Glance::Missing,
                    other => other,
                };
            }
            let value = look_up(object, self.whole.as_ptr());
            if !value.is_null() {
                let number = plain_number(value);
                decref(value);
                return number;
            }
            if !ffi::PyErr_Occurred().is_null() {
                ffi::PyErr_Clear();
                return Glance::Unsure;
            }
            if self.path.len() == 1 { Glance::Missing } else { Glance::Unsure }
        }
    }
}

/// Whether looking a field up in an object runs no foreign code: in whatever is no mapping, and in a dictionary of few keys,
/// each of them a plain text, which needs nobody else to compare it. Without the interpreter's lock a dictionary may be waited
/// for, so there it counts as foreign.
///
/// # Safety
/// The object lives, and the thread is attached.
#[inline]
pub(crate) unsafe fn is_transparent(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller's promise; what a dictionary lends lives on while nothing else runs.
    unsafe {
        if ffi::PyDict_CheckExact(object) == 0 {
            return true;
        }
        if cfg!(Py_GIL_DISABLED) || ffi::PyDict_Size(object) > KEYS_MAX {
            return false;
        }
        let (mut place, mut key) = (0, std::ptr::null_mut());
        while ffi::PyDict_Next(object, &raw mut place, &raw mut key, std::ptr::null_mut()) != 0 {
            if ffi::PyUnicode_CheckExact(key) == 0 {
                return false;
            }
        }
        true
    }
}

/// How many keys are looked at one by one.
const KEYS_MAX: ffi::Py_ssize_t = 32;

/// The value of a `float` or `int`.
///
/// # Safety
/// The object lives, and the thread is attached.
#[inline]
unsafe fn plain_number(object: *mut ffi::PyObject) -> Glance {
    // SAFETY: passed on.
    unsafe {
        if ffi::PyFloat_CheckExact(object) != 0 {
            return Glance::Number(ffi::PyFloat_AsDouble(object));
        }
        if ffi::PyLong_CheckExact(object) == 0 {
            return Glance::Unsure;
        }
        let number = ffi::PyLong_AsDouble(object);
        if number == -1.0 && !ffi::PyErr_Occurred().is_null() {
            // Beyond what a float can be.
            ffi::PyErr_Clear();
            return Glance::Unsure;
        }
        Glance::Number(number)
    }
}
