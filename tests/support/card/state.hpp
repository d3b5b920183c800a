// What the emulated cards are and what happened on them. Nothing here knows of tensors.
#pragma once

#include <c10/core/Device.h>
#include <c10/util/Exception.h>
#include <torch/version.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <ctime>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace card {

constexpr int MOST_CARDS = 16;
constexpr int DEVICE_ASSERT = 710;  // cudaErrorAssert
const std::string ASSERTED = "CUDA error: device-side assert triggered\nThe emulated card was told to break.";

using Counts = std::map<std::string, int64_t>;

struct Card {
  int64_t memory = int64_t(80) << 30;  // bytes in all
  int64_t taken = 0;                   // bytes that other processes hold
  int64_t now = 0, most = 0;           // bytes that this process holds, and the most since the last reset
  int64_t launched = 0;                // launches since the process began: `break_after` counts these
  int64_t break_after = -1;            // launches after which the card breaks; -1: never
  bool broken = false;
  Counts launches, waits;
};

struct State {
  std::mutex lock;
  int cards = 1;
  Card card[MOST_CARDS];
  std::string break_once;  // a card breaks only if this file can be made anew
  int wait_mode = 0;       // what a wait does besides being counted: 0 nothing, 1 warn, 2 raise
  std::atomic<int64_t> computing{0};  // nanoseconds of the CPU in a card's place
  std::atomic<pid_t> user{0};         // the process that used a card first
};

inline State& state() {
  static State one;
  return one;
}

// The current card of this thread, as CUDA has it.
inline thread_local int current = 0;

// In here another card is the current one.
struct On {
  int before = current;
  explicit On(int index) { current = index; }
  ~On() { current = before; }
};

inline Card& card_of(int index) {
  TORCH_CHECK(
      0 <= index && index < state().cards, "CUDA error: invalid device ordinal\n",
      "There is no emulated card ", index, ".");
  return state().card[index];
}

[[noreturn]] inline void throw_asserted() {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 8
  throw c10::AcceleratorError({__func__, __FILE__, uint32_t(__LINE__)}, DEVICE_ASSERT, ASSERTED);
#else
  C10_THROW_ERROR(Error, ASSERTED);
#endif
}

// Every call to a card comes by here: it fails in a forked process, and on a broken card for ever.
inline Card& answering(int index) {
  Card& found = card_of(index);
  pid_t none = 0, here = getpid();
  if (!state().user.compare_exchange_strong(none, here) && none != here)
    TORCH_CHECK(false, "Cannot re-initialize CUDA in forked subprocess. Use the 'spawn' start method.");
  if (found.broken) throw_asserted();
  return found;
}

// Whether this process is the one that breaks, where only one may.
inline bool may_break() {
  const std::string& path = state().break_once;
  if (path.empty()) return true;
  int file = open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
  if (file < 0) return false;
  close(file);
  return true;
}

inline void count_launch(int index, const std::string& name) {
  Card& on = answering(index);
  std::lock_guard<std::mutex> hold(state().lock);
  on.launches[name]++;
  on.launched++;
  if (on.launched == on.break_after) on.broken = may_break();
}

// `noticed`: torch's own mode of reporting waits (`set_sync_debug_mode`) speaks of waits of this kind.
inline void count_wait(int index, const std::string& name, bool noticed = true) {
  Card& on = answering(index);
  {
    std::lock_guard<std::mutex> hold(state().lock);
    on.waits[name]++;
  }
  if (!noticed) return;
  TORCH_CHECK(state().wait_mode != 2, "called a synchronizing CUDA operation: ", name);
  if (state().wait_mode == 1) TORCH_WARN("called a synchronizing CUDA operation: ", name);
}

// As torch's allocator does, memory is given in blocks of 512 bytes.
inline int64_t rounded(int64_t bytes) { return (bytes + 511) / 512 * 512; }

inline std::string in_mebibytes(int64_t bytes) {
  char text[32];
  snprintf(text, sizeof text, "%.2f MiB", double(bytes) / (1 << 20));
  return text;
}

inline void take_memory(int index, int64_t bytes) {
  Card& on = answering(index);
  std::lock_guard<std::mutex> hold(state().lock);
  int64_t free = on.memory - on.taken - on.now;
  if (rounded(bytes) > free)
    C10_THROW_ERROR(
        OutOfMemoryError,
        "CUDA out of memory. Tried to allocate " + in_mebibytes(bytes) + ". GPU " + std::to_string(index) +
            " has a total capacity of " + in_mebibytes(on.memory) + " of which " + in_mebibytes(free) + " is free.");
  on.now += rounded(bytes);
  on.most = std::max(on.most, on.now);
}

inline void give_memory(int index, int64_t bytes) {
  std::lock_guard<std::mutex> hold(state().lock);
  state().card[index].now -= rounded(bytes);
}

// Time of a core that this thread has had.
inline int64_t nanoseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// Inside the CPU's kernels and what serves them nothing is counted but their time.
inline thread_local int computing = 0;
struct Computing {
  const int64_t began = computing++ == 0 ? nanoseconds() : 0;
  ~Computing() {
    if (--computing == 0) state().computing += nanoseconds() - began;
  }
};

}  // namespace card
