// What torch asks of a kind of device: memory, a guard, random numbers, and hooks.
#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstdlib>
#include <cstring>
#include <set>

#include "state.hpp"

namespace card {

inline c10::Device device_of(int index) { return {c10::DeviceType::CUDA, c10::DeviceIndex(index)}; }

// Fresh memory of a card may hold anything. Read as an index it is out of all bounds; `empty` makes floats NaN.
constexpr int POISON = 0xA5;

inline void fill(void* data, int byte, size_t bytes) {
  Computing now;
  std::memset(data, byte, bytes);
}

constexpr size_t HEAD = 256;  // bytes in front of a block, which say whose it is
struct Head {
  int index;
  int64_t bytes;
};

inline void free_block(void* data) {
  if (data == nullptr) return;
  char* block = static_cast<char*>(data) - HEAD;
  Head head;
  std::memcpy(&head, block, sizeof head);
  give_memory(head.index, head.bytes);
  Computing now;
  std::free(block);
}

inline void* taken_from_host(size_t bytes) {
  Computing now;
  void* block = nullptr;
  return posix_memalign(&block, HEAD, bytes) == 0 ? block : nullptr;
}

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    const int index = current;
    if (bytes == 0) return {nullptr, nullptr, &free_block, device_of(index)};
    take_memory(index, int64_t(bytes));
    void* block = taken_from_host(HEAD + bytes);
    if (block == nullptr) {
      give_memory(index, int64_t(bytes));
      C10_THROW_ERROR(OutOfMemoryError, "the host has no memory for an emulated card");
    }
    const Head head{index, int64_t(bytes)};
    std::memcpy(block, &head, sizeof head);
    void* data = static_cast<char*>(block) + HEAD;
    fill(data, POISON, bytes);
    return {data, data, &free_block, device_of(index)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
};
inline Memory memory;

// Memory of the host from which a card copies without anyone waiting.
struct Pinned final : c10::Allocator {
  std::mutex lock;
  std::map<const char*, size_t> blocks;

  static Pinned& one() {
    static Pinned* pinned = new Pinned;  // blocks may be freed after everything else has gone
    return *pinned;
  }
  static void release(void* data) {
    std::lock_guard<std::mutex> hold(one().lock);
    one().blocks.erase(static_cast<const char*>(data));
    std::free(data);
  }
  c10::DataPtr allocate(size_t bytes) override {
    answering(current);
    void* data = nullptr;
    TORCH_CHECK(posix_memalign(&data, HEAD, std::max<size_t>(bytes, 1)) == 0, "the host has no memory to pin");
    std::lock_guard<std::mutex> hold(lock);
    blocks[static_cast<const char*>(data)] = std::max<size_t>(bytes, 1);
    return {data, data, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
  bool holds(const void* data) {
    std::lock_guard<std::mutex> hold(lock);
    auto after = blocks.upper_bound(static_cast<const char*>(data));
    if (after == blocks.begin()) return false;
    --after;
    return static_cast<const char*>(data) < after->first + after->second;
  }
};

// There is one stream a card, and whatever is asked of it is done already.
struct Guard final : c10::impl::DeviceGuardImplInterface {
  static c10::Stream stream(c10::Device d) {
    return c10::Stream(c10::Stream::DEFAULT, d.has_index() ? d : device_of(current));
  }
  c10::DeviceType type() const override { return c10::DeviceType::CUDA; }
  c10::Device exchangeDevice(c10::Device d) const override {
    const int before = current;
    setDevice(d);
    return device_of(before);
  }
  c10::Device getDevice() const override { return device_of(current); }
  void setDevice(c10::Device d) const override {
    if (!d.has_index()) return;
    card_of(d.index());
    current = d.index();
  }
  void uncheckedSetDevice(c10::Device d) const noexcept override {
    if (d.has_index()) current = d.index();
  }
  c10::Stream getStream(c10::Device d) const override { return stream(d); }
  c10::Stream getDefaultStream(c10::Device d) const override { return stream(d); }
  c10::Stream getStreamFromGlobalPool(c10::Device d, bool) const override { return stream(d); }
  c10::Stream getNewStream(c10::Device d, int) const override { return stream(d); }
  c10::Stream exchangeStream(c10::Stream s) const override { return stream(s.device()); }
  c10::DeviceIndex deviceCount() const noexcept override { return c10::DeviceIndex(state().cards); }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream& s) const override { count_wait(s.device_index(), "synchronize"); }
  void synchronizeDevice(const c10::DeviceIndex index) const override { count_wait(index, "synchronize", false); }
};

// A generator that only tensors of its card take. Its numbers are neither a card's nor the CPU's for the same seed.
struct Dice final : c10::GeneratorImpl {
  at::Generator inner = at::detail::createCPUGenerator();
  uint64_t asked = c10::default_rng_seed_val;

  explicit Dice(int index)
      : c10::GeneratorImpl(device_of(index), c10::DispatchKeySet(c10::DispatchKey::CUDA)) {}
  void set_current_seed(uint64_t seed) override {
    asked = seed;
    inner.set_current_seed(seed ^ 0x5DEECE66D1CEB00Bull);
  }
  void set_offset(uint64_t) override { TORCH_CHECK(false, "The emulated card knows no offsets of generators."); }
  uint64_t get_offset() const override { return 0; }
  uint64_t current_seed() const override { return asked; }
  uint64_t seed() override {
    set_current_seed(c10::detail::getNonDeterministicRandom());
    return asked;
  }
  void set_state(const c10::TensorImpl& from) override { inner.unsafeGetGeneratorImpl()->set_state(from); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return inner.unsafeGetGeneratorImpl()->get_state();
  }
  Dice* clone_impl() const override {
    Dice* other = new Dice(device().index());
    other->inner = inner.clone();
    other->asked = asked;
    return other;
  }
};

inline const at::Generator& default_generator(int index) {
  static std::vector<at::Generator> all = [] {
    std::vector<at::Generator> made;
    for (int k = 0; k < MOST_CARDS; k++) made.push_back(at::make_generator<Dice>(k));
    return made;
  }();
  return all.at(index < 0 ? current : index);
}

struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return c10::DeviceIndex(state().cards); }
  int getNumGPUs() const override { return state().cards; }
  c10::DeviceIndex current_device() const override { return c10::DeviceIndex(current); }
  c10::DeviceIndex getCurrentDevice() const override { return c10::DeviceIndex(current); }
  void setCurrentDevice(c10::DeviceIndex index) const override { Guard().setDevice(device_of(index)); }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex index) const override {
    return Guard().exchangeDevice(device_of(index)).index();
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex index) const override {
    return index < 0 ? c10::DeviceIndex(current) : exchangeDevice(index);
  }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex index) const override { return default_generator(index); }
  at::Generator getNewGenerator(c10::DeviceIndex index) const override {
    return at::make_generator<Dice>(index < 0 ? current : int(index));
  }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &Pinned::one(); }
  bool isPinnedPtr(const void* data) const override { return Pinned::one().holds(data); }
  void deviceSynchronize(c10::DeviceIndex index) const override { count_wait(index, "synchronize", false); }
};

}  // namespace card
