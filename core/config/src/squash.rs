//! Configurations made of several blocks at one level.

use serde::de::{self, Deserialize, SeqAccess};

pub use {schemars, serde};

/// Tuple of parts, all from the same map.
pub const SQUASH: &str = "$spanbridge::squash";

/// The next part of a squashed configuration.
pub fn part<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(seq: &mut A) -> Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| de::Error::custom("squash! needs this crate's deserializer"))
}

/// Defines a configuration whose map holds the keys of other configurations beside its own.
///
/// A field written `flatten name: Type` is such a part: its keys are written at this level. The struct gets `Serialize`,
/// `Deserialize` and `JsonSchema`; `Default` is yours to write, and is the only source of defaults, for the keys of
/// the parts as well. Unknown keys are refused once, against the keys of all parts together.
///
/// ```
/// # use serde::{Serialize, Deserialize};
/// # use schemars::JsonSchema;
/// # #[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
/// # #[serde(default, deny_unknown_fields)]
/// # pub struct ClientConfig { endpoint: String }
/// spanbridge_config::squash! {
///     /// What users write.
///     #[derive(Debug, Clone, Default)]
///     pub struct Config {
///         /// The connection; its keys stand at this level.
///         pub flatten client: ClientConfig,
///         /// How long one attempt may take.
///         pub timeout: spanbridge_config::Duration,
///     }
/// }
/// ```
#[macro_export]
macro_rules! squash {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($body:tt)* }) => {
        $crate::squash!(@fields { $(#[$meta])* $vis struct $name } [] [] [] $($body)*);
    };

    // A part: `flatten name: Type`.
    (@fields $head:tt [$($all:tt)*] [$($parts:tt)*] $keys:tt
        $(#[$meta:meta])* $vis:vis flatten $field:ident : $type:ty $(, $($rest:tt)*)?) => {
        $crate::squash!(@fields $head
            [$($all)* #[serde(flatten)] $(#[$meta])* $vis $field: $type,] [$($parts)* ($field $type)] $keys
            $($($rest)*)?);
    };
    // A key of its own.
    (@fields $head:tt [$($all:tt)*] $parts:tt [$($keys:tt)*]
        $(#[$meta:meta])* $vis:vis $field:ident : $type:ty $(, $($rest:tt)*)?) => {
        $crate::squash!(@fields $head
            [$($all)* $(#[$meta])* $vis $field: $type,] $parts [$($keys)* ({$(#[$meta])*} $field $type)]
            $($($rest)*)?);
    };

    (@fields { $(#[$meta:meta])* $vis:vis struct $name:ident } [$($all:tt)*]
        [$(($part:ident $part_type:ty))*] [$(({$($key_meta:tt)*} $key:ident $key_type:ty))*]) => {
        $(#[$meta])*
        #[derive($crate::squash::serde::Serialize, $crate::squash::schemars::JsonSchema)]
        #[serde(crate = "spanbridge_config::squash::serde")]
        #[schemars(crate = "spanbridge_config::squash::schemars", default, deny_unknown_fields)]
        $vis struct $name { $($all)* }

        const _: () = {
            use $crate::squash::serde::{Deserialize, Deserializer, de};

            #[derive($crate::squash::serde::Deserialize, $crate::squash::schemars::JsonSchema)]
            #[serde(default, deny_unknown_fields, crate = "spanbridge_config::squash::serde")]
            #[schemars(crate = "spanbridge_config::squash::schemars")]
            struct OwnKeys { $($($key_meta)* $key: $key_type,)* }

            impl ::core::default::Default for OwnKeys {
                fn default() -> Self {
                    let _whole = <$name as ::core::default::Default>::default();
                    Self { $($key: _whole.$key,)* }
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> ::core::result::Result<Self, D::Error> {
                    struct Visitor;
                    impl<'de> de::Visitor<'de> for Visitor {
                        type Value = $name;

                        fn expecting(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                            f.write_str("a map")
                        }

                        fn visit_seq<A: de::SeqAccess<'de>>(
                            self,
                            mut seq: A,
                        ) -> ::core::result::Result<$name, A::Error> {
                            $(let $part: $part_type = $crate::squash::part(&mut seq)?;)*
                            let _own: OwnKeys = $crate::squash::part(&mut seq)?;
                            Ok($name { $($part,)* $($key: _own.$key,)* })
                        }
                    }
                    deserializer.deserialize_tuple_struct($crate::squash::SQUASH, 0, Visitor)
                }
            }
        };
    };
}
