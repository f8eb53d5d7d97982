//! Descriptors that publishers register, messages of those types, and JSON: none may panic, overflow the stack, or take
//! more memory than the limits allow.

#![no_main]

use ferrocal::{DataType, DynamicType, JsonOptions, protobuf_to_json};
use ferrocal_fuzz::{Input, with_peak};
use libfuzzer_sys::fuzz_target;

/// What trees of messages are looked for that take less.
const MAX_TREE_BYTES: usize = 64 * 1024;
/// What a type may take, by the cost that a descriptor set may have.
const MAX_TYPE_BYTES: usize = 64 * 1024 * 1024;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let name = String::from_utf8_lossy(&input.text()).into_owned();
    let len = input.word().into();
    let descriptor = input.bytes(len).to_vec().into();
    let (loaded, peak) =
        with_peak(|| DynamicType::new(&DataType { name, encoding: "proto".into(), descriptor }));
    assert!(peak <= MAX_TYPE_BYTES, "{peak} bytes for a descriptor of {len}");
    let Ok(loaded) = loaded else { return };

    let payload = input.0.to_vec();
    let fits = loaded.tree_fits(&payload, MAX_TREE_BYTES);
    let (decoded, peak) = with_peak(|| loaded.decode(payload));
    assert!(!fits || peak <= 2 * MAX_TREE_BYTES, "{peak} bytes for a tree of {MAX_TREE_BYTES} at most");
    if let Ok(message) = decoded {
        let all = JsonOptions::default().max_len(1 << 20).default_fields(true).proto_names(true);
        let _ = protobuf_to_json(&message, &all);
        if let Ok(json) = protobuf_to_json(&message, &JsonOptions::default().max_len(1 << 20)) {
            let _ = loaded.from_json(&json).map(|payload| loaded.decode(payload));
        }
    }
    let json = String::from_utf8_lossy(input.0);
    let _ = loaded.from_json(&json).map(|payload| loaded.decode(payload));
});
