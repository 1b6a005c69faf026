//! A value that a template stores into one that is safe to keep: of limited depth, without cycles.
//!
//! minijinja compares, prints and frees values by recursion. A template that stores `[ns.x]` in
//! `ns.x` again and again, or `ns` in `ns.x`, would overflow the stack and end the process, so what
//! is stored is looked at first.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

use crate::limits::KEPT_DEPTH_MAX;

/// Values looked at for one unit of fuel.
const VALUES_PER_FUEL: u64 = 16;

/// For a variable: may be a namespace, but not hold one.
pub(crate) fn keep(state: &State, value: Value) -> Result<Value, Error> {
    if is_macro(&value) {
        return Ok(value);
    }
    if !is_namespace(&value) {
        return kept(state, value);
    }
    for key in value.try_iter()?.checked() {
        kept(state, value.get_item(&key?)?)?;
    }
    Ok(value)
}

/// For an attribute of a namespace: must not be, or hold, anything that might lead back to it.
pub(crate) fn keep_inside(state: &State, value: Value) -> Result<Value, Error> {
    if value.kind() == ValueKind::Plain {
        return Err(refused("a callable cannot be stored in a namespace"));
    }
    kept(state, value)
}

fn kept(state: &State, value: Value) -> Result<Value, Error> {
    let mut seen = 0;
    let result = checked(&value, 0, &mut seen, state);
    state.consume_fuel(seen / VALUES_PER_FUEL)?;
    Ok(result?.unwrap_or(value))
}

/// The value to store instead, if it must be another: lazy sequences become lists, since what they
/// hold on to cannot be seen.
fn checked(
    value: &Value,
    depth: usize,
    seen: &mut u64,
    state: &State,
) -> Result<Option<Value>, Error> {
    if depth > KEPT_DEPTH_MAX {
        return Err(refused("a stored value is nested too deeply"));
    }
    *seen += 1;
    if *seen >= VALUES_PER_FUEL {
        *seen = 0;
        state.consume_fuel(1)?;
    }
    match value.kind() {
        ValueKind::Map if is_namespace(value) => {
            Err(refused("a namespace cannot be stored inside another value"))
        }
        // It holds on to every variable that it uses, a namespace among them.
        _ if is_macro(value) => Err(refused("a macro cannot be stored inside another value")),
        ValueKind::Map => {
            let mut pairs = Vec::new();
            let mut changed = false;
            for key in value.try_iter()?.checked() {
                let key = key?;
                // The keys of a map can be tuples.
                checked(&key, depth + 1, seen, state)?;
                let item = value.get_item(&key)?;
                let new = checked(&item, depth + 1, seen, state)?;
                changed |= new.is_some();
                pairs.push((key, new.unwrap_or(item)));
            }
            Ok(changed.then(|| Value::from_pairs(pairs)))
        }
        kind @ (ValueKind::Seq | ValueKind::Iterable) => {
            let mut items = Vec::new();
            let mut changed = kind == ValueKind::Iterable;
            for item in value.try_iter()?.checked() {
                let item = item?;
                let new = checked(&item, depth + 1, seen, state)?;
                changed |= new.is_some();
                items.push(new.unwrap_or(item));
            }
            Ok(changed.then(|| Value::from(items)))
        }
        _ => Ok(None),
    }
}

/// minijinja does not export its types of namespaces and macros, only their names.
fn is_namespace(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"))
}

fn is_macro(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("::Macro"))
}

fn refused(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
