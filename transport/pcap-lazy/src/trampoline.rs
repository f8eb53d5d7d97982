//! The macro that makes a function of every row of the table.

/// Defines for each row a symbol of that name, which calls the function of the library, or answers with the value
/// behind `=` where the library or the function is missing; and `Functions`, the addresses in the library.
///
/// - `required`: without it a library counts as incomplete and is not used.
/// - `optional`: old libraries, other systems or WinPcap lack it.
/// - `replaced`: optional too, but the symbol always answers with the value.
macro_rules! functions {
    ($(
        $(#[$attribute:meta])*
        $need:ident fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? = $missing:expr;
    )*) => {
        /// The functions of a loaded library.
        pub(crate) struct Functions {
            $($(#[$attribute])* pub(crate) $name: Option<unsafe extern "C" fn($($type),*) $(-> $result)?>,)*
        }

        impl Functions {
            /// Looks all of them up; the error is the first required one that is missing.
            ///
            /// # Safety
            ///
            /// What the library has under these names must be functions of these types.
            pub(crate) unsafe fn resolve(library: &$crate::loader::Handle) -> Result<Self, &'static str> {
                $(
                    $(#[$attribute])*
                    // SAFETY: as promised by the caller.
                    let $name = unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) };
                    $(#[$attribute])*
                    let $name = $name.ok().map(|symbol| *symbol);
                )*
                $($(#[$attribute])* $crate::trampoline::check!($need $name);)*
                Ok(Self { $($(#[$attribute])* $name,)* })
            }
        }

        $(
            $(#[$attribute])*
            // SAFETY: nothing else in the program has this name, since the linker finds no libpcap, see build.rs.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
                $crate::trampoline::body!($need $name($($argument),*) $missing)
            }

            // Microsoft's tools call functions of other libraries through a pointer of this name.
            $(#[$attribute])*
            #[cfg(target_env = "msvc")]
            const _: () = {
                // SAFETY: as for the function itself.
                #[cfg_attr(
                    not(target_arch = "x86"),
                    unsafe(export_name = concat!("__imp_", stringify!($name)))
                )]
                // This architecture puts an underscore before every name.
                #[cfg_attr(
                    target_arch = "x86",
                    unsafe(export_name = concat!("_imp__", stringify!($name)))
                )]
                static POINTER: unsafe extern "C" fn($($type),*) $(-> $result)? = $name;
            };
        )*
    };
}

macro_rules! check {
    (required $name:ident) => {
        if $name.is_none() {
            return Err(stringify!($name));
        }
    };
    ($need:ident $name:ident) => {};
}

macro_rules! body {
    (replaced $name:ident($($argument:ident),*) $missing:expr) => {{
        // SAFETY: the caller promises what the function of the library demands.
        unsafe { $missing }
    }};
    ($need:ident $name:ident($($argument:ident),*) $missing:expr) => {
        match $crate::loaded::functions() {
            // SAFETY: the caller promises what the function of the library demands.
            Ok($crate::table::Functions { $name: Some(function), .. }) => unsafe { function($($argument),*) },
            _ => {
                // SAFETY: a buffer for errors has the length that libpcap demands.
                #[allow(unused_unsafe, reason = "most rows have a plain value")]
                unsafe { $missing }
            }
        }
    };
}

pub(crate) use {body, check, functions};
