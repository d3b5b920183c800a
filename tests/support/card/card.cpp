// A CUDA device that computes on the CPU: the operators, and what Python asks of it.
//
// Every operator that has no line below goes to `compute`: it checks what a card would refuse, counts a launch, and
// lets the CPU's kernel compute. Views and fresh memory are no launches.

#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/native/TensorFactories.h>
#include <torch/library.h>

#include "device.hpp"

REGISTER_ALLOCATOR(c10::DeviceType::CUDA, &card::memory);
namespace c10::impl {
C10_REGISTER_GUARD_IMPL(CUDA, card::Guard);
}
namespace at {
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, card::Hooks);
}

namespace card {
namespace {

// The same memory as a tensor of the CPU.
at::Tensor on_host(const at::Tensor& t) {
  if (!t.defined() || !t.is_cuda()) return t;
  void* data = t.numel() == 0 ? nullptr : const_cast<void*>(t.storage().data());
  auto keep = [](void*) {};
  const auto options = t.options().device(at::kCPU);
  return at::from_blob(data, t.sizes(), t.strides(), t.storage_offset(), keep, options, std::nullopt);
}

// ---- memory and views

using Format = std::optional<at::MemoryFormat>;
using Type = std::optional<at::ScalarType>;
using Layout = std::optional<at::Layout>;
using Where = std::optional<at::Device>;
using Pin = std::optional<bool>;
using Offset = std::optional<int64_t>;
constexpr c10::DispatchKeySet KEYS(c10::DispatchKey::CUDA);

int index_in(const Where& where) { return where.has_value() && where->has_index() ? where->index() : current; }

// Floats that nobody wrote are not numbers, so that reading them shows.
at::Tensor poisoned(at::Tensor fresh) {
  if (fresh.is_floating_point() && fresh.storage().nbytes() > 0)
    fill(fresh.storage().mutable_data(), 0xFF, fresh.storage().nbytes());
  return fresh;
}
at::Tensor empty(at::IntArrayRef size, Type type, Layout, Where where, Pin, Format format) {
  On card(index_in(where));
  return poisoned(at::detail::empty_generic(size, &memory, KEYS, c10::dtype_or_default(type), format));
}
at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, Type type, Layout, Where where, Pin) {
  On card(index_in(where));
  return poisoned(at::detail::empty_strided_generic(size, stride, &memory, KEYS, c10::dtype_or_default(type)));
}
at::Tensor as_strided(const at::Tensor& self, at::IntArrayRef size, at::IntArrayRef stride, Offset offset) {
  return at::native::as_strided_tensorimpl(self, size, stride, offset);
}
at::Tensor view(const at::Tensor& self, at::IntArrayRef size) { return at::native::view(self, size); }
at::Tensor view_dtype(const at::Tensor& self, at::ScalarType type) { return at::native::view_dtype(self, type); }
at::Tensor reshape_alias(const at::Tensor& self, at::IntArrayRef size, at::IntArrayRef stride) {
  return at::native::_reshape_alias(self, size, stride);
}
at::Tensor unfold(const at::Tensor& self, int64_t dim, int64_t size, int64_t step) {
  return at::native::unfold(self, dim, size, step);
}
const at::Tensor& resize_(const at::Tensor& self, at::IntArrayRef size, Format format) {
  On card(self.device().index());
  at::native::resize_(self, size, format);
  return self;
}
void record_stream(at::Tensor&, c10::Stream) {}

// ---- copies

bool pinned(const at::Tensor& t) { return t.numel() > 0 && Pinned::one().holds(t.storage().data()); }

void count_copy(const at::Tensor& to, const at::Tensor& from, bool no_wait) {
  if (to.is_cuda() && from.is_cuda()) {
    answering(from.device().index());
    count_launch(to.device().index(), to.device() == from.device() ? "aten::copy_" : "copy between cards");
  } else if (to.is_cuda()) {
    count_launch(to.device().index(), "copy to the card");
    if (!no_wait) count_wait(to.device().index(), "copy to the card");
  } else {
    // Only to pinned memory a card copies while the host goes on (which then reads what was there before).
    count_launch(from.device().index(), "copy to the host");
    if (!no_wait || !pinned(to)) count_wait(from.device().index(), "copy to the host");
  }
}
at::Tensor& copy_(at::Tensor& self, const at::Tensor& from, bool no_wait) {
  if (computing == 0) count_copy(self, from, no_wait);
  Computing now;
  on_host(self).copy_(on_host(from));
  return self;
}
at::Scalar item(const at::Tensor& self) {
  count_wait(self.device().index(), "item");
  return on_host(self).item();
}
// The next two are how the CPU's results come back to the card.
at::Tensor copy_back(const at::Tensor& from, const at::Tensor& to, bool) {
  on_host(to).copy_(on_host(from));
  return to;
}
at::Tensor copy_back_resized(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) to.resize_(from.sizes());
  return copy_back(from, to, false);
}
bool is_pinned(const at::Tensor& self, Where) { return !self.is_cuda() && pinned(self); }
// Of the ways to attend, the one that consists of other operators.
using Mask = std::optional<at::Tensor>;
int64_t way_to_attend(
    const at::Tensor&, const at::Tensor&, const at::Tensor&, const Mask&, double, bool, std::optional<double>, bool) {
  return 0;
}

// ---- everything else

// Operators whose result, or whether it is one, the host must know before it goes on.
const std::set<std::string> WAITING = {
    "aten::nonzero",       "aten::masked_select",      "aten::equal",    "aten::is_nonzero",
    "aten::_unique",       "aten::_unique2",           "aten::bincount", "aten::repeat_interleave",
    "aten::unique_dim",    "aten::unique_consecutive", "aten::_linalg_check_errors"};
// Operators that take indices of the CPU beside tensors of the card. A mask as index is a hidden `nonzero`.
const std::set<std::string> INDEXING = {"aten::index", "aten::_index_put_impl_", "aten::index_put_"};

// The card of all tensors among the arguments, and whether they make the host wait.
class Arguments {
 public:
  Arguments(const std::string& name, c10::ArrayRef<c10::IValue> values)
      : name_(name), indexing_(INDEXING.count(name) > 0) {
    for (const auto& value : values) look_at(value);
    if (card_ < 0) card_ = current;
  }
  int card() const { return card_; }
  const std::string& waits_for() const { return waits_for_; }

 private:
  void look_at(const c10::IValue& value) {
    if (value.isTensor()) {
      look_at(value.toTensor(), false);
    } else if (value.isTensorList()) {
      for (const at::Tensor& t : value.toTensorVector()) look_at(t, false);
    } else if (value.isOptionalTensorList()) {
      for (const std::optional<at::Tensor>& t : value.toOptionalTensorVector())
        if (t.has_value()) look_at(*t, indexing_);
    } else if (value.isDevice() && value.toDevice().is_cuda() && value.toDevice().has_index()) {
      meet(value.toDevice());
    }
  }
  void look_at(const at::Tensor& t, bool index) {
    if (!t.defined()) return;
    const bool mask = t.scalar_type() == at::kBool || t.scalar_type() == at::kByte;
    if (index && mask) waits_for_ = name_ + " with a mask as index";
    if (t.is_cuda()) return meet(t.device());
    if (index) {
      waits_for_ = name_ + " with an index of the CPU";
    } else if (t.dim() > 0) {
      mixed(t.device());
    }
  }
  void meet(c10::Device device) {
    if (card_ >= 0 && card_ != device.index()) mixed(device);
    card_ = device.index();
    if (!other_.empty()) mixed(device);
  }
  // Which of two devices comes first does not matter to a card, so a tensor of the CPU met first is kept in mind.
  void mixed(c10::Device device) {
    if (card_ < 0) {
      other_ = device.str();
      return;
    }
    const std::string other = other_.empty() ? device.str() : other_;
    TORCH_CHECK(
        false, "Expected all tensors to be on the same device, but found at least two devices, cuda:", card_, " and ",
        other, "! (", name_, ")");
  }
  const std::string name_;
  const bool indexing_;
  int card_ = -1;
  std::string other_, waits_for_;
};

void use_inner_generators(torch::jit::Stack& stack, size_t arguments, int card) {
  for (size_t k = stack.size() - arguments; k < stack.size(); k++) {
    if (!stack[k].isGenerator()) continue;
    auto generator = stack[k].toGenerator();
    const auto device = generator.device();
    TORCH_CHECK(
        device.is_cuda(), "Expected a 'cuda' device type for generator but found '", device.type(), "'");
    TORCH_CHECK(
        device.index() == card, "Expected a 'cuda:", card, "' generator device but found '", device, "'");
    stack[k] = static_cast<Dice*>(generator.unsafeGetGeneratorImpl())->inner;
  }
}

void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const std::string& name = schema.name();
  const size_t count = schema.arguments().size();
  const Arguments given(name, c10::ArrayRef<c10::IValue>(*stack).slice(stack->size() - count));
  use_inner_generators(*stack, count, given.card());
  On card(given.card());
  if (computing == 0) {
    count_launch(given.card(), name);
    if (WAITING.count(name)) count_wait(given.card(), name);
    if (!given.waits_for().empty()) count_wait(given.card(), given.waits_for());
  }
  Computing now;
  at::native::cpu_fallback(op, stack);
}

// ---- what Python asks

using Table = c10::Dict<std::string, int64_t>;

Table table_of(Counts Card::*counts, int64_t index) {
  std::lock_guard<std::mutex> hold(state().lock);
  Table found;
  for (const auto& [name, number] : card_of(int(index)).*counts) found.insert(name, number);
  return found;
}
void set_up(
    int64_t cards, int64_t memory, int64_t taken, int64_t break_after, int64_t break_card,
    const std::string& break_once) {
  TORCH_CHECK(1 <= cards && cards <= MOST_CARDS, "There can be 1 to ", MOST_CARDS, " emulated cards, not ", cards, ".");
  state().cards = int(cards);
  state().break_once = break_once;
  for (int k = 0; k < cards; k++) {
    state().card[k].memory = memory;
    state().card[k].taken = taken;
    state().card[k].break_after = break_card < 0 || break_card == k ? break_after : -1;
  }
}
void reset() {
  std::lock_guard<std::mutex> hold(state().lock);
  state().computing = 0;
  for (Card& one : state().card) {
    one.launches.clear();
    one.waits.clear();
    one.most = one.now;
  }
}
int64_t exchange_wait_mode(int64_t mode) { return std::exchange(state().wait_mode, int(mode)); }
int64_t exchange(int64_t index) {
  const int before = current;
  if (index >= 0) Guard().setDevice(device_of(int(index)));
  return before;
}

}  // namespace
}  // namespace card

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&card::compute>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", TORCH_FN(card::empty));
  m.impl("empty_strided", TORCH_FN(card::empty_strided));
  m.impl("as_strided", TORCH_FN(card::as_strided));
  m.impl("view", TORCH_FN(card::view));
  m.impl("view.dtype", TORCH_FN(card::view_dtype));
  m.impl("_reshape_alias", TORCH_FN(card::reshape_alias));
  m.impl("unfold", TORCH_FN(card::unfold));
  m.impl("resize_", TORCH_FN(card::resize_));
  m.impl("record_stream", TORCH_FN(card::record_stream));
  m.impl("copy_", TORCH_FN(card::copy_));
  m.impl("_copy_from", TORCH_FN(card::copy_back));
  m.impl("_copy_from_and_resize", TORCH_FN(card::copy_back_resized));
  m.impl("_local_scalar_dense", TORCH_FN(card::item));
  m.impl("is_pinned", TORCH_FN(card::is_pinned));
  m.impl("_fused_sdp_choice", TORCH_FN(card::way_to_attend));
}

// What a card has and a processor has not: products of half precision that come out in another one.
TORCH_LIBRARY_IMPL(aten, CPU, m) {
  m.impl("bmm.dtype", [](const at::Tensor& a, const at::Tensor& b, at::ScalarType out) {
    return at::bmm(a.to(out), b.to(out));
  });
  m.impl("mm.dtype", [](const at::Tensor& a, const at::Tensor& b, at::ScalarType out) {
    return at::mm(a.to(out), b.to(out));
  });
  m.impl("mm.dtype_out", [](const at::Tensor& a, const at::Tensor& b, at::ScalarType type, at::Tensor& out) -> at::Tensor& {
    return out.copy_(at::mm(a.to(type), b.to(type)));
  });
  m.impl("bmm.dtype_out", [](const at::Tensor& a, const at::Tensor& b, at::ScalarType type, at::Tensor& out) -> at::Tensor& {
    return out.copy_(at::bmm(a.to(type), b.to(type)));
  });
}

TORCH_LIBRARY(emulated_card, m) {
  m.def("set_up", &card::set_up);
  m.def("limit(int card, int memory) -> ()", [](int64_t k, int64_t bytes) { card::card_of(int(k)).memory = bytes; });
  m.def("break_now(int card) -> ()", [](int64_t k) { card::card_of(int(k)).broken = true; });
  m.def("reset() -> ()", &card::reset);
  m.def("launches(int card) -> Dict(str, int)", [](int64_t k) { return card::table_of(&card::Card::launches, k); });
  m.def("waits(int card) -> Dict(str, int)", [](int64_t k) { return card::table_of(&card::Card::waits, k); });
  m.def("wait_mode(int mode) -> int", &card::exchange_wait_mode);
  m.def("synchronize(int card) -> ()", [](int64_t k) { card::count_wait(int(k), "synchronize", false); });
  m.def("memory(int card) -> int[]", [](int64_t k) {
    const card::Card& on = card::answering(int(k));
    return std::vector<int64_t>{on.memory, on.taken, on.now, on.most};
  });
  m.def("reset_peak(int card) -> ()", [](int64_t k) { card::card_of(int(k)).most = card::card_of(int(k)).now; });
  m.def("computing() -> int", [] { return card::state().computing.load(); });
  m.def("current() -> int", [] { return int64_t(card::current); });
  m.def("exchange(int card) -> int", &card::exchange);
  m.def("generator", [](int64_t k) { return card::default_generator(int(k)); });
}
