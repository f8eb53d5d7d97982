//! Methods as servers and clients register them.

use std::sync::atomic::{AtomicU64, Ordering};

use ferrocal_proto::{Action, DataType, MethodInfo};

/// What is registered of a method that is offered or called.
pub(crate) struct RegisteredMethod {
    request: DataType,
    response: DataType,
    calls: AtomicU64,
}

impl RegisteredMethod {
    pub(super) fn new(request: DataType, response: DataType) -> Self {
        Self { request, response, calls: AtomicU64::new(0) }
    }

    /// Counts a call.
    pub(crate) fn count(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is announced of methods: nothing at the end.
pub(super) fn infos<'a>(
    action: Action,
    methods: impl Iterator<Item = (&'a String, &'a RegisteredMethod)>,
) -> Vec<MethodInfo> {
    let info = |(name, method): (&String, &RegisteredMethod)| MethodInfo {
        name: (**name).into(),
        request: method.request.clone(),
        response: method.response.clone(),
        call_count: method.calls.load(Ordering::Relaxed).cast_signed(),
    };
    match action {
        Action::Register => methods.map(info).collect(),
        Action::Unregister => Vec::new(),
    }
}
