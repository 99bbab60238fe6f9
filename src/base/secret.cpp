#include "base/secret.hpp"

#include <cstring>
#include <utility>

namespace signet::base {

void WipeMemory(void* data, std::size_t size) noexcept {
  if (size > 0) ::explicit_bzero(data, size);  // an empty vector has no data
}

void Secret::Wipe() noexcept {
  if (!octets_.empty()) WipeMemory(octets_.data(), octets_.size());
  octets_.clear();
}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    Wipe();
    octets_ = std::move(other.octets_);
    other.octets_.clear();
  }
  return *this;
}

bool Secret::Equals(const Secret& other) const {
  if (octets_.size() != other.octets_.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < octets_.size(); ++i) difference |= static_cast<unsigned>(octets_[i] ^ other.octets_[i]);
  return difference == 0;
}

}  // namespace signet::base
