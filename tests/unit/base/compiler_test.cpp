// A fault of GCC 12 that lost the door of a caller (docs/adr/0011). These files are compiled with the flags that ship.
#include <gtest/gtest.h>

#include <new>

namespace signet {
namespace {

enum class Door : unsigned char { kSocket, kController, kGateway };
enum class Code : unsigned char { kInvalidArgument };
struct Caller {
  Door door;
  long name;
};
struct Error {
  Code code;
  long message;
};
/// What tl::expected<Caller, Error> is made of.
struct Storage {
  union {
    Caller value;
    Error error;
    char none;
  };
  bool has_value;
};

volatile int work = 0;

inline void Copy(Caller& to, const Caller& from) { new (&to) Caller{from.door, from.name}; }
inline void Copy(Error& to, const Error& from) { new (&to) Error{from.code, from.message}; }
[[gnu::noinline]] void Construct(Caller* to, const Caller& from) {
  for (long i = from.name; i > 0; --i) new (to) Caller(from);
}
[[gnu::noinline]] Door DoorOf(const Storage& storage) {
  return storage.has_value ? storage.value.door : Door::kController;
}

/// Moves `from` twice, as a callback that takes a Result by value does.
[[gnu::noinline]] Door Forward(const Storage& from, int steps) {
  Storage first, second;
  first.none = 0;
  first.has_value = false;
  if (from.has_value) {
    Construct(&first.value, from.value);
    first.has_value = true;
  } else {
    Copy(first.error, from.error);
    first.has_value = false;
  }
  for (int i = 0; i < steps; ++i) work = work + i;
  second.none = 0;
  second.has_value = false;
  if (first.has_value) {
    Copy(second.value, first.value);
    second.has_value = true;
  } else {
    Copy(second.error, first.error);
    second.has_value = false;
  }
  return DoorOf(second);
}

TEST(CompilerTest, KeepsTheFirstByteOfAUnionThatIsMovedTwice) {
  Storage storage{};
  new (&storage.value) Caller{Door::kGateway, 7};
  storage.has_value = true;
  EXPECT_EQ(Forward(storage, 1), Door::kGateway);
}

}  // namespace
}  // namespace signet
