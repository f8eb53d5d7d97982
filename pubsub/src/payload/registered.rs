//! The data type that a publisher registered, and what is made of it once.

use std::sync::Arc;
#[cfg(feature = "dynamic")]
use std::sync::OnceLock;

use ferrocal_proto::DataType;

#[cfg(feature = "dynamic")]
use super::{DynamicType, DynamicTypeError};

/// The data type that a publisher registered. See [`Payload::decode_as`](crate::Payload::decode_as).
#[derive(Debug)]
pub struct RegisteredType {
    data_type: Arc<DataType>,
    #[cfg(feature = "dynamic")]
    dynamic: OnceLock<Result<DynamicType, Arc<DynamicTypeError>>>,
}

impl RegisteredType {
    /// What [`Payload::decode_as`](crate::Payload::decode_as) decodes by.
    pub fn new(data_type: impl Into<Arc<DataType>>) -> Self {
        Self {
            data_type: data_type.into(),
            #[cfg(feature = "dynamic")]
            dynamic: OnceLock::new(),
        }
    }

    /// Its name, its encoding and the description of the fields.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// The protobuf type that its descriptor describes, loaded at the first call.
    ///
    /// # Errors
    /// As [`DynamicType::new`].
    #[cfg(feature = "dynamic")]
    pub fn dynamic(&self) -> Result<&DynamicType, Arc<DynamicTypeError>> {
        self.dynamic
            .get_or_init(|| DynamicType::new(&self.data_type).map_err(Arc::new))
            .as_ref()
            .map_err(Arc::clone)
    }
}
