//! The smallest library that Microsoft's linker knows as one: it has a single member, an object file without sections
//! whose only symbol is a constant that nobody asks for.
//!
//! The layout is that of Microsoft's "PE Format", sections "Archive (Library) File Format" and "COFF File Header".

/// The symbol that the library defines.
const SYMBOL: &[u8] = b"ferrocal_pcap_lazy_placeholder\0";
/// The file that the library says it was made of.
const MEMBER: &str = "empty.obj/";

/// The number of a processor architecture as `CARGO_CFG_TARGET_ARCH` names it ("Machine Types").
pub(crate) fn machine(architecture: &str) -> Option<u16> {
    match architecture {
        "x86" => Some(0x014c),
        "x86_64" => Some(0x8664),
        "arm" => Some(0x01c4),
        "aarch64" => Some(0xaa64),
        _ => None,
    }
}

/// The whole library.
pub(crate) fn library(machine: u16) -> Vec<u8> {
    const MAGIC: &[u8] = b"!<arch>\n";

    // Both tables of symbols say where the object begins, which their lengths decide.
    let object_offset =
        MAGIC.len() + member("/", &first_table(0)).len() + member("/", &second_table(0)).len();
    let object_offset = u32::try_from(object_offset).expect("the tables are short");
    [
        MAGIC,
        &member("/", &first_table(object_offset)),
        &member("/", &second_table(object_offset)),
        &member(MEMBER, &object(machine)),
    ]
    .concat()
}

/// "First Linker Member": the number of symbols, the members' offsets, the names; big-endian.
fn first_table(object_offset: u32) -> Vec<u8> {
    [1_u32.to_be_bytes().as_slice(), &object_offset.to_be_bytes(), SYMBOL].concat()
}

/// "Second Linker Member": the members' offsets, then the symbols' members (counted from one) and names;
/// little-endian.
fn second_table(object_offset: u32) -> Vec<u8> {
    let one = 1_u32.to_le_bytes();
    [one.as_slice(), &object_offset.to_le_bytes(), &one, &1_u16.to_le_bytes(), SYMBOL].concat()
}

/// A header and the contents, which begin and end at an even offset ("Archive Member Headers").
fn member(name: &str, contents: &[u8]) -> Vec<u8> {
    let (date, user, group, mode) = (0, "", "", 0);
    let length = contents.len();
    let mut bytes = format!("{name:16}{date:<12}{user:6}{group:6}{mode:<8}{length:<10}`\n").into_bytes();
    bytes.extend_from_slice(contents);
    if length % 2 == 1 {
        bytes.push(b'\n');
    }
    bytes
}

/// An object file: header, symbol table, string table.
fn object(machine: u16) -> Vec<u8> {
    const HEADER_LEN: u32 = 20;
    const LENGTH_LEN: u32 = 4;
    const ABSOLUTE: i16 = -1;
    const EXTERNAL: u8 = 2;

    let none_u16 = 0_u16.to_le_bytes();
    let none_u32 = 0_u32.to_le_bytes();
    let strings_len = LENGTH_LEN + u32::try_from(SYMBOL.len()).expect("the name is short");
    [
        // File header
        machine.to_le_bytes().as_slice(),
        &none_u16,                 // sections
        &none_u32,                 // time
        &HEADER_LEN.to_le_bytes(), // where the symbols are
        &1_u32.to_le_bytes(),      // how many
        &none_u16,                 // length of the optional header
        &none_u16,                 // characteristics
        // Symbol: its name is at an offset in the string table
        &none_u32,
        &LENGTH_LEN.to_le_bytes(),
        &none_u32, // value
        &ABSOLUTE.to_le_bytes(),
        &none_u16, // type
        &[EXTERNAL, 0],
        // String table
        &strings_len.to_le_bytes(),
        SYMBOL,
    ]
    .concat()
}
