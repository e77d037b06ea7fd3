//! Encodings of what other encodings are made of: numbers, text, lists, and types of ours field by field.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use ringwood_types::bytes::{Reader, Writer};

use super::Encoded;

macro_rules! primitives {
    ($($name:ty: $method:ident;)*) => {$(
        impl Encoded for $name {
            fn write(&self, to: &mut Writer) {
                to.$method(*self);
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                from.$method()
            }
        }
    )*};
}

primitives! {
    bool: bool;
    u8: u8;
    u16: u16;
    u32: u32;
    u64: varint;
    u128: u128;
}

impl Encoded for String {
    fn write(&self, to: &mut Writer) {
        to.str(self);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.str().map(Self::from)
    }
}

/// Opaque bytes.
impl Encoded for Box<[u8]> {
    fn write(&self, to: &mut Writer) {
        to.bytes(self);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.bytes().map(Self::from)
    }
}

impl<T: Encoded> Encoded for Option<T> {
    fn write(&self, to: &mut Writer) {
        to.bool(self.is_some());
        if let Some(value) = self {
            value.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match from.bool()? {
            true => T::read(from).map(Some),
            false => Some(None),
        }
    }
}

/// Items behind their number; each takes a byte at least, so no number makes anybody wait or reserve
/// more than the bytes that came with it.
impl<T: Encoded> Encoded for Vec<T> {
    fn write(&self, to: &mut Writer) {
        to.count(self.len());
        self.iter().for_each(|item| item.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let count = from.count(1)?;
        (0..count).map(|_| T::read(from)).collect()
    }
}

impl<A: Encoded, B: Encoded> Encoded for (A, B) {
    fn write(&self, to: &mut Writer) {
        self.0.write(to);
        self.1.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some((A::read(from)?, B::read(from)?))
    }
}

/// Encodes a struct as its fields, in the order given. That all are named is checked by the compiler.
///
/// ```
/// struct Range { start: u64, len: Option<u32> }
/// ringwood_wire::encoded_fields!(Range { start, len });
/// ```
#[macro_export]
macro_rules! encoded_fields {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::Encoded for $name {
            fn write(&self, to: &mut $crate::Writer) {
                let Self { $($field),* } = self;
                $($crate::Encoded::write($field, to);)*
            }

            fn read(from: &mut $crate::Reader<'_>) -> Option<Self> {
                Some(Self { $($field: $crate::Encoded::read(from)?),* })
            }
        }
    };
}

/// Encodes an enum as a byte that is fixed for ever, and the variant's fields in the order given.
///
/// ```
/// enum Shape { Dot, Circle { radius: u64 } }
/// ringwood_wire::encoded_variants!(Shape { 1 => Dot {}, 2 => Circle { radius } });
/// ```
#[macro_export]
macro_rules! encoded_variants {
    ($name:ident { $($tag:literal => $variant:ident { $($field:ident),* $(,)? }),* $(,)? }) => {
        impl $crate::Encoded for $name {
            fn write(&self, to: &mut $crate::Writer) {
                match self {$(
                    Self::$variant { $($field),* } => {
                        to.u8($tag);
                        $($crate::Encoded::write($field, to);)*
                    }
                )*}
            }

            fn read(from: &mut $crate::Reader<'_>) -> Option<Self> {
                match from.u8()? {
                    $($tag => Some(Self::$variant { $($field: $crate::Encoded::read(from)?),* }),)*
                    _ => None,
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    #[derive(Clone, Debug, PartialEq)]
    enum Shape {
        Dot,
        Circle { radius: u64, names: Vec<String> },
    }

    crate::encoded_variants!(Shape {
        1 => Dot {},
        2 => Circle { radius, names },
    });

    #[derive(Debug, PartialEq)]
    struct All {
        shapes: Vec<Shape>,
        flag: bool,
        pair: (u8, u16),
        wide: Option<u128>,
        raw: Box<[u8]>,
        number: u32,
    }

    crate::encoded_fields!(All {
        shapes,
        flag,
        pair,
        wide,
        raw,
        number
    });

    fn shapes() -> impl Strategy<Value = Shape> {
        prop_oneof![
            Just(Shape::Dot),
            (any::<u64>(), any::<Vec<String>>())
                .prop_map(|(radius, names)| Shape::Circle { radius, names }),
        ]
    }

    proptest! {
        #[test]
        fn composed_values_are_read_back(
            shapes in proptest::collection::vec(shapes(), 0..4),
            flag: bool, pair: (u8, u16), wide: Option<u128>, raw: Vec<u8>, number: u32,
        ) {
            let all = All { shapes, flag, pair, wide, raw: raw.into(), number };
            let bytes = all.to_vec();
            prop_assert_eq!(All::decode(&bytes), Ok(all));
            for cut in 0..bytes.len() {
                prop_assert!(All::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_a_value_or_refused(bytes: Vec<u8>) {
            if let Ok(all) = All::decode(&bytes) {
                prop_assert_eq!(all.to_vec(), bytes);
            }
        }
    }

    #[test]
    fn an_unknown_variant_is_refused() {
        assert_eq!(Shape::decode(&[1]), Ok(Shape::Dot));
        assert!(Shape::decode(&[0]).is_err());
        assert!(Shape::decode(&[3]).is_err());
        let many = [&u32::MAX.to_le_bytes()[..], &[1; 40]].concat();
        assert!(Vec::<Shape>::decode(&many).is_err());
        assert_eq!(Vec::<u8>::decode(&[2, 0, 0, 0, 7, 8]), Ok(vec![7, 8]));
    }
}
