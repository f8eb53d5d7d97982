//! JSON.

use std::marker::PhantomData;

use bytes::Bytes;
use ferrocal_proto::DataType;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Payload;

/// A value that travels as JSON: any type that serde can read and write.
///
/// Registered with the encoding `json` and without a name, because eCAL has no JSON messages of its own to follow.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ferrocal::{Json, Node};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct State {
///     battery: f32,
/// }
///
/// let node = Node::new("my_robot")?;
/// let publisher = node.publisher::<Json<State>>("state")?;
/// publisher.send(&State { battery: 0.8 })?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Json<T>(PhantomData<fn() -> T>);

/// Why a value is not JSON, or JSON is not such a value.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct JsonError(pub(super) serde_json::Error);

impl<T: Serialize + DeserializeOwned + Send + 'static> Payload for Json<T> {
    type Value = T;
    type Received = T;
    type EncodeError = JsonError;
    type DecodeError = JsonError;

    fn data_type() -> DataType {
        DataType { encoding: "json".into(), ..DataType::default() }
    }

    fn encode<'a>(value: &'a T, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], JsonError> {
        serde_json::to_writer(&mut *scratch, value).map_err(JsonError)?;
        Ok(scratch)
    }

    fn decode(payload: Bytes) -> Result<T, JsonError> {
        serde_json::from_slice(&payload).map_err(JsonError)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn values_travel_as_json() {
        type Payload = Json<Vec<Option<u8>>>;
        let mut scratch = Vec::new();
        assert_eq!(Payload::encode(&vec![Some(1), None], &mut scratch).unwrap(), b"[1,null]");
        assert_eq!(Payload::decode(scratch.into()).unwrap(), [Some(1), None]);
    }

    #[test]
    fn what_json_cannot_hold_is_an_error() {
        let keys_that_are_no_text = HashMap::from([(vec![1], 2)]);
        assert!(Json::<HashMap<Vec<u8>, u8>>::encode(&keys_that_are_no_text, &mut Vec::new()).is_err());
        assert!(Json::<u8>::decode(Bytes::from_static(b"256")).is_err());
    }
}
