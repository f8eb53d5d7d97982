// The real eCAL by its C++ library: what ecal.py measures runs here, without the interpreter. ecal.py has eCAL initialized,
// and loads this into the same process.
//
// eCAL's Python package holds the library, but no headers. What is needed of them is declared here, as in eCAL 6.1.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace eCAL {
struct STopicId;

struct SDataTypeInformation {
    std::string name, encoding, descriptor;
};

struct SReceiveCallbackData {
    const void* buffer;
    std::size_t buffer_size;
    std::int64_t send_timestamp, send_clock;
};

namespace Publisher {
struct Configuration;
}
namespace Subscriber {
struct Configuration;
}
const Publisher::Configuration& GetPublisherConfiguration();
const Subscriber::Configuration& GetSubscriberConfiguration();

class CPublisher {
  public:
    CPublisher(const std::string&, const SDataTypeInformation&, const Publisher::Configuration&);
    bool Send(const void*, std::size_t, long long);

  private:
    // For what the library has here: three pointers.
    void* room[8];
};

class CSubscriber {
  public:
    using Callback =
        std::function<void(const STopicId&, const SDataTypeInformation&, const SReceiveCallbackData&)>;
    CSubscriber(const std::string&, const SDataTypeInformation&, const Subscriber::Configuration&);
    void SetReceiveCallback(Callback);

  private:
    void* room[8];
};
}  // namespace eCAL

namespace {
using Clock = std::chrono::steady_clock;
using Number = std::uint64_t;

/// How long an answer is waited for, as in mod.rs.
constexpr auto PATIENCE = std::chrono::milliseconds(200);

Number now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

/// Publishers and subscribers live as long as the process.
eCAL::CPublisher& publisher(const char* topic) {
    return *new eCAL::CPublisher(topic, {}, eCAL::GetPublisherConfiguration());
}

template <typename Take>
void subscribe(const char* topic, Take take) {
    auto* subscriber = new eCAL::CSubscriber(topic, {}, eCAL::GetSubscriberConfiguration());
    subscriber->SetReceiveCallback([take](const eCAL::STopicId&, const eCAL::SDataTypeInformation&,
                                          const eCAL::SReceiveCallbackData& data) {
        take(static_cast<const char*>(data.buffer), data.buffer_size);
    });
}

/// Sends, with the system's time as the send time.
bool send(eCAL::CPublisher& publisher, const void* message, std::size_t len) {
    return publisher.Send(message, len, -1);
}

/// A message with its number at both ends, as in tally.rs.
void stamp(std::vector<char>& message, Number number) {
    std::memcpy(message.data(), &number, sizeof number);
    std::memcpy(message.data() + message.size() - sizeof number, &number, sizeof number);
}

bool is_intact(const char* message, std::size_t len, std::size_t expected_len) {
    return len == expected_len && std::memcmp(message, message + len - sizeof(Number), sizeof(Number)) == 0;
}

std::vector<eCAL::CPublisher*> publishers;
std::atomic<Number> received{0}, damaged{0}, last_ns{0};

struct Pings {
    eCAL::CPublisher* publisher;
    std::vector<char> message;
    Number number, sent_ns, end_ns;
    std::vector<Number> times_ns;
    std::mutex mutex;
    std::condition_variable answered;

    void send_next() {
        stamp(message, ++number);
        sent_ns = now_ns();
        send(*publisher, message.data(), message.size());
    }

    /// Sends the next message from the callback, as ferrocal does where it is measured so.
    void take(const char* answer, std::size_t len) {
        const std::lock_guard<std::mutex> lock(mutex);
        const auto now = now_ns();
        if (!is_intact(answer, len, message.size()) || std::memcmp(answer, &number, sizeof number) != 0) {
            return;
        }
        times_ns.push_back(now - sent_ns);
        if (now < end_ns) {
            send_next();
        } else {
            answered.notify_one();
        }
    }
} pings;
}  // namespace

extern "C" {
void add_publisher(const char* topic) { publishers.push_back(&publisher(topic)); }

struct Sent {
    Number sent, refused, start_ns;
    double seconds;
};

/// Sends at a rate, from publisher to publisher; flat out if it is 0.
Sent send_for(std::size_t size, double rate, double seconds) {
    static Number number = 0;
    std::vector<char> message(size, '.');
    Sent result{0, 0, now_ns(), 0.0};
    while (result.seconds < seconds) {
        if (rate <= 0.0 || static_cast<double>(result.sent) < rate * result.seconds + 1.0) {
            stamp(message, number);
            result.refused += !send(*publishers[number % publishers.size()], message.data(), size);
            ++number;
            ++result.sent;
        } else {
            const double wait = static_cast<double>(result.sent) / rate - result.seconds;
            std::this_thread::sleep_for(
                std::chrono::duration<double>(std::min(std::max(wait, 0.0), seconds - result.seconds)));
        }
        result.seconds = static_cast<double>(now_ns() - result.start_ns) / 1e9;
    }
    return result;
}

void count(const char* topic, std::size_t size) {
    subscribe(topic, [size](const char* message, std::size_t len) {
        (is_intact(message, len, size) ? received : damaged).fetch_add(1, std::memory_order_relaxed);
        last_ns.store(now_ns(), std::memory_order_relaxed);
    });
}

struct Totals {
    Number received, damaged, last_ns;
};

Totals totals() { return {received, damaged, last_ns}; }

void prepare_ping(std::size_t size) {
    pings.publisher = &publisher("ping");
    pings.message.assign(size, '.');
    subscribe("pong", [](const char* answer, std::size_t len) { pings.take(answer, len); });
}

struct Pinged {
    Number count, lost;
    double p50_us, p99_us, p999_us;
};

Pinged ping_for(double seconds) {
    std::unique_lock<std::mutex> lock(pings.mutex);
    pings.times_ns.clear();
    pings.end_ns = now_ns() + static_cast<Number>(seconds * 1e9);
    Pinged result{};
    while (now_ns() < pings.end_ns) {
        pings.send_next();
        Number latest;
        do {
            latest = pings.number;
            const auto left = std::chrono::nanoseconds(pings.end_ns - std::min(now_ns(), pings.end_ns));
            pings.answered.wait_for(lock, std::min<std::chrono::nanoseconds>(PATIENCE, left));
        } while (now_ns() < pings.end_ns && pings.number != latest);
        result.lost += now_ns() < pings.end_ns;
    }
    auto& times = pings.times_ns;
    std::sort(times.begin(), times.end());
    const auto microseconds = [&](double share) {
        const auto at = static_cast<std::size_t>(static_cast<double>(times.size()) * share);
        return times.empty() ? 0.0 : static_cast<double>(times[std::min(at, times.size() - 1)]) / 1e3;
    };
    result.count = times.size();
    result.p50_us = microseconds(0.5);
    result.p99_us = microseconds(0.99);
    result.p999_us = microseconds(0.999);
    return result;
}

/// Sends back what it receives, from the callback.
void pong() {
    auto& answers = publisher("pong");
    subscribe("ping", [&answers](const char* message, std::size_t len) { send(answers, message, len); });
}
}
