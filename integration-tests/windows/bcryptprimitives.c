/*
 * bcryptprimitives.dll with the one function of it that Rust's standard library imports.
 *
 * Windows has this library since version 10 began, Wine before version 9 does not, and without it no Rust program
 * starts there. The same random bytes come from RtlGenRandom, which Wine has.
 */
#include <windows.h>
#include <ntsecapi.h>

/* Declared first, as no header of mingw-w64 declares it. */
BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T len);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T len)
{
    while (len > 0) {
        ULONG part = len < MAXLONG ? (ULONG)len : MAXLONG;
        if (!RtlGenRandom(buffer, part))
            return FALSE;
        buffer += part;
        len -= part;
    }
    return TRUE;
}
