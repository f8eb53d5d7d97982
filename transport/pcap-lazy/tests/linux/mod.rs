//! The tests themselves. Each calls `probe` and looks at what it prints.

mod probe;

use std::fs;
use std::process::Command;

use libtest_mimic::{Completion, Failed, Trial};
use probe::{Folder, NAMES, Need, Probe, installed, output};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("needs_no_libpcap_to_start", &[Need::Readelf], needs_no_libpcap_to_start),
        test(
            "defines_all_that_libpcap_exports",
            &[Need::Readelf, Need::Libpcap],
            defines_all_that_libpcap_exports,
        ),
        test("uses_what_is_installed", &[Need::Libpcap], uses_what_is_installed),
        test("captures", &[Need::Libpcap, Need::Namespaces], captures),
        test("tells_absence", &[Need::Namespaces], tells_absence),
        test("tells_what_is_no_library", &[], tells_what_is_no_library),
        test("tells_a_foreign_library", &[Need::Compiler], tells_a_foreign_library),
        test("passes_over_a_broken_library", &[Need::Libpcap], passes_over_a_broken_library),
    ]
}

fn test(name: &str, needs: &'static [Need], body: fn()) -> Trial {
    Trial::ignorable_test(name, move || {
        let missing = Probe::built().and_then(|()| needs.iter().try_for_each(|need| need.check()));
        match missing {
            Ok(()) => {
                body();
                Ok(Completion::Completed)
            }
            Err(reason) if std::env::var("FERROCAL_REQUIRE_ALL").is_ok_and(|value| value == "1") => {
                Err(Failed::from(format!("cannot run here: {reason}")))
            }
            Err(reason) => Ok(Completion::ignored_with(reason)),
        }
    })
}

fn needs_no_libpcap_to_start() {
    let dynamic = output(Command::new("readelf").args(["--dynamic", "--wide"]).arg(Probe::path()));
    assert!(dynamic.contains("(NEEDED)"), "{dynamic}");
    assert!(!dynamic.contains("libpcap"), "{dynamic}");
}

fn defines_all_that_libpcap_exports() {
    let table = include_str!("../../src/table.rs");
    let library = installed().expect("it is installed");
    let listing = output(Command::new("readelf").args(["--dyn-syms", "--wide", &library]));
    let exported = listing
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() >= 8 && fields[3] == "FUNC" && fields[6] != "UND")
        .filter_map(|fields| fields[7].split('@').next())
        .filter(|name| name.starts_with("pcap_"))
        .collect::<Vec<_>>();
    assert!(exported.contains(&"pcap_create"), "{listing}");
    let missing = exported.iter().filter(|name| !table.contains(&format!(" fn {name}("))).collect::<Vec<_>>();
    assert!(missing.is_empty(), "{missing:?}");
}

fn uses_what_is_installed() {
    let run = Probe::new().run();
    run.has("library: libpcap version ").has("System").has_not("no devices");
}

fn captures() {
    let run = Probe::inside("ip link set lo up").capturing().run();
    run.has("device: lo").has("captured: 3");
}

fn tells_absence() {
    let hide = "for file in $(find -L /lib* /usr/lib* /usr/local/lib* -name 'libpcap.so*' 2>/dev/null); do
        mount --bind /dev/null $file || exit 3
    done";
    let run = Probe::inside(hide).capturing().run();
    run.tells("libpcap is not installed (tried libpcap.so.1, libpcap.so.0.8, libpcap.so)");
}

fn tells_what_is_no_library() {
    let folder = Folder::new("no-library");
    for name in NAMES {
        fs::write(folder.path().join(name), vec![b'x'; 4096]).expect("the folder can be written to");
    }
    let run = Probe::new().finding(&folder).capturing().run();
    run.tells("libpcap.so.1 cannot be loaded: ").has("ELF header");
}

fn tells_a_foreign_library() {
    let folder = Folder::new("foreign");
    let first = folder.path().join(NAMES[0]);
    output(Command::new("cc").args(["-shared", "-x", "c", "/dev/null", "-o"]).arg(&first));
    for name in &NAMES[1..] {
        fs::copy(&first, folder.path().join(name)).expect("the folder can be written to");
    }
    let run = Probe::new().finding(&folder).capturing().run();
    run.tells(&format!("{} is no libpcap: it lacks pcap_", first.display()));
}

fn passes_over_a_broken_library() {
    let folder = Folder::new("passed-over");
    let genuine = installed().expect("it is installed");
    fs::write(folder.path().join(NAMES[0]), "").expect("the folder can be written to");
    std::os::unix::fs::symlink(genuine, folder.path().join(NAMES[2])).expect("the folder can be written to");
    let run = Probe::new().finding(&folder).run();
    run.has("library: libpcap version ").has_not("no devices");
}
