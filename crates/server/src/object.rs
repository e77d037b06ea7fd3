//! Objects that stand as objects: a derived `Deserialize` also takes a list of the fields, in the order in
//! which they happen to stand in the code. No body and no file of ours means that.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// What stands as an object, and as nothing else.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(ObjectVisitor(PhantomData))
            .map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with named fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

/// For a field that is an object.
///
/// # Errors
/// What is wrong with it.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(one)| one)
}

/// For a field that is a list of objects.
///
/// # Errors
/// What is wrong with the first that cannot be read.
pub fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|Object(one)| one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        left: u8,
        #[serde(default, deserialize_with = "objects")]
        right: Vec<Pair>,
    }

    #[test]
    fn lists_are_no_objects_at_any_depth() {
        let read = |text: &str| serde_json::from_str::<Object<Pair>>(text);
        let Object(pair) = read(r#"{"left":1,"right":[{"left":2}]}"#).unwrap();
        assert_eq!((pair.left, pair.right[0].left), (1, 2));
        for bad in [
            "[1,[]]",
            r#"{"left":1,"right":[[2,[]]]}"#,
            r#"{"left":1,"right":[{"left":2,"right":[[3,[]]]}]}"#,
            r#"{"left":1,"middle":2}"#,
            "null",
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains("line 1"), "{bad}: {error}");
        }
    }
}
