#include "audit/operation_id.hpp"

#include <algorithm>
#include <chrono>
#include <string_view>

#include "crypto/digest.hpp"

namespace signet::audit {
namespace {

constexpr std::string_view kCrockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr std::size_t kPoolSize = 1000;

}  // namespace

void OperationIds::Refill() {
  if (used_ + random_.size() > pool_.size()) {
    pool_ = crypto::RandomBytes(kPoolSize);
    used_ = 0;
  }
  std::copy_n(pool_.begin() + static_cast<std::ptrdiff_t>(used_), random_.size(), random_.begin());
  used_ += random_.size();
  random_[0] &= 0x7FU;  // room to count up without a carry out of the 80 bits
}

std::string OperationIds::Next() {
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(clock_.Now().time_since_epoch()).count();
  const auto now = static_cast<std::uint64_t>(std::max<std::int64_t>(since, 0)) & 0xFFFF'FFFF'FFFFULL;
  if (now > millisecond_) {
    millisecond_ = now;
    Refill();
  } else {
    for (auto octet = random_.rbegin(); octet != random_.rend() && ++*octet == 0;) ++octet;
  }
  std::string id(kOperationIdSize, '0');
  std::uint64_t time = millisecond_;
  for (std::size_t i = 10; i-- > 0; time >>= 5U) id[i] = kCrockford[time & 31U];
  std::uint32_t bits = 0;
  unsigned held = 0;
  std::size_t out = 10;
  for (const std::uint8_t octet : random_) {
    bits = (bits << 8U) | octet;
    held += 8;
    while (held >= 5) {
      held -= 5;
      id[out++] = kCrockford[(bits >> held) & 31U];
    }
  }
  return id;
}

}  // namespace signet::audit
