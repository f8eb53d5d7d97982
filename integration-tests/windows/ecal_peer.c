/*
 * The real eCAL on Windows as peer: its library comes with the Python package, without headers, an import library or a C
 * interface. So this calls functions of its C++ interface by their mangled names, with objects as the compiler of that
 * library lays them out: a string, a function, and room for two classes.
 *
 * ecal_peer.exe LIBRARY pub TOPIC   reads lengths from standard input, a line each, and sends a message of each
 * ecal_peer.exe LIBRARY sub TOPIC   reports messages until standard input ends, or somebody asks it to end
 *
 * Byte k of message n, counted from 0, is (k * 31 + n) & 0xff. All events are lines of JSON.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

/* std::string of Visual C++ for 64 bits, with up to 15 characters. */
struct string {
    char bytes[16];
    size_t len;
    size_t capacity;
};

/* std::function of Visual C++, and what one holds: a class with these virtual functions, by their order. */
struct received;

struct function {
    void *room[7];
    const struct callable *callable;
};

struct callable {
    const struct virtual_functions {
        const struct callable *(*copy)(const struct callable *, void *);
        const struct callable *(*move)(const struct callable *, void *);
        void (*call)(const struct callable *, const char *const *, const struct received *const *);
        const void *(*type)(const struct callable *);
        void (*remove)(const struct callable *, bool);
        const void *(*get)(const struct callable *);
    } *functions;
};

/* eCAL::v5::SReceiveCallbackData */
struct received {
    const unsigned char *bytes;
    long len;
    long long id, time, clock;
};

#define STRING "V?$basic_string@DU?$char_traits@D@std@@V?$allocator@D@2@@std@@"
/* eCAL::Init::Default */
#define COMPONENTS 0x37
#define NOW (-1LL)
#define POLL_MS 20

static HMODULE library;

static void *named(const char *name)
{
    void *address = (void *)(uintptr_t)GetProcAddress(library, name);
    if (!address) {
        fprintf(stderr, "the library has no %s\n", name);
        exit(1);
    }
    return address;
}

static struct string string(const char *text)
{
    struct string string = { .len = strlen(text), .capacity = 15 };
    if (string.len > 15) {
        fprintf(stderr, "too long: %s\n", text);
        exit(1);
    }
    memcpy(string.bytes, text, string.len);
    return string;
}

static void event(const char *name)
{
    printf("{\"event\": \"%s\"}\n", name);
    fflush(stdout);
}

static int publish(const struct string *topic)
{
    void *(*construct)(void *) = named("??0CPublisher@v5@eCAL@@QEAA@XZ");
    bool (*create)(void *, const struct string *) = named("?Create@CPublisher@v5@eCAL@@QEAA_NAEB" STRING "@Z");
    size_t (*subscribers)(const void *) = named("?GetSubscriberCount@CPublisher@v5@eCAL@@QEBA_KXZ");
    size_t (*send)(void *, const void *, size_t, long long) =
        named("?Send@CPublisher@v5@eCAL@@QEAA_KPEBX_K_J@Z");
    static _Alignas(16) char publisher[1024];
    long len, n = 0;

    construct(publisher);
    if (!create(publisher, topic))
        return 1;
    event("ready");
    while (subscribers(publisher) == 0)
        Sleep(POLL_MS);
    event("matched");
    while (scanf("%ld", &len) == 1) {
        unsigned char *message = malloc((size_t)len + 1);
        for (long k = 0; k < len; k++)
            message[k] = (unsigned char)(k * 31 + n);
        n++;
        if (send(publisher, message, (size_t)len, NOW) == 0)
            return 1;
        free(message);
        event("sent");
    }
    return 0;
}

static DWORD WINAPI end_with_input(void *unused)
{
    while (getchar() != EOF)
        ;
    ExitProcess(0);
    return (DWORD)(uintptr_t)unused;
}

/* It is the same everywhere, and has nothing to remove. */
static const struct callable *copy(const struct callable *callable, void *room)
{
    return room ? callable : NULL;
}

static void remove_nothing(const struct callable *callable, bool is_elsewhere)
{
    (void)callable;
    (void)is_elsewhere;
}

static const void *nothing(const struct callable *callable)
{
    (void)callable;
    return NULL;
}

static void report(const struct callable *callable, const char *const *topic, const struct received *const *argument)
{
    static long n;
    const struct received *message = *argument;
    long intact = 0;

    (void)callable;
    (void)topic;
    while (intact < message->len && message->bytes[intact] == (unsigned char)(intact * 31 + n))
        intact++;
    n++;
    printf("{\"event\": \"received\", \"len\": %ld, \"intact\": %ld}\n", message->len, intact);
    fflush(stdout);
}

static int subscribe(const struct string *topic)
{
    static const struct virtual_functions functions = { copy, copy, report, nothing, remove_nothing, nothing };
    static const struct callable callable = { &functions };
    /* Who is called removes what it was given by value. */
    struct function callback = { .callable = &callable };
    void *(*construct)(void *) = named("??0CSubscriber@v5@eCAL@@QEAA@XZ");
    bool (*create)(void *, const struct string *) = named("?Create@CSubscriber@v5@eCAL@@QEAA_NAEB" STRING "@Z");
    bool (*add)(void *, struct function *) = named("?AddReceiveCallback@CSubscriber@v5@eCAL@@QEAA_NV?$function@"
                                                      "$$A6AXPEBDPEBUSReceiveCallbackData@v5@eCAL@@@Z@std@@@Z");
    static _Alignas(16) char subscriber[1024];
    bool (*ok)(void) = named("?Ok@eCAL@@YA_NXZ");

    construct(subscriber);
    if (!create(subscriber, topic) || !add(subscriber, &callback))
        return 1;
    event("ready");
    CreateThread(NULL, 0, end_with_input, NULL, 0, NULL);
    while (ok())
        Sleep(POLL_MS);
    event("asked to end");
    return 0;
}

int main(int count, char **arguments)
{
    if (count != 4 || !(library = LoadLibraryA(arguments[1]))) {
        fprintf(stderr, "%s LIBRARY pub|sub TOPIC: error %lu\n", arguments[0], GetLastError());
        return 1;
    }
    bool (*initialize)(const struct string *, unsigned) = named("?Initialize@eCAL@@YA_NAEB" STRING "I@Z");
    bool (*finalize)(void) = named("?Finalize@eCAL@@YA_NXZ");
    struct string unit = string("peer"), topic = string(arguments[3]);
    int status = 1;

    if (initialize(&unit, COMPONENTS))
        status = strcmp(arguments[2], "pub") ? subscribe(&topic) : publish(&topic);
    finalize();
    return status;
}
