// Who gives way when a server is full: the part of Hub that shares slots and memory by address.
#include <netinet/in.h>
#include <sys/resource.h>

#include <algorithm>
#include <mutex>
#include <tuple>

#include "http/connection.hpp"
#include "obs/log.hpp"

namespace signet::http {
namespace {

constexpr std::size_t kFewestLingering = 4;
constexpr std::size_t kLingeringPart = 16;  // of all slots, one in so many
constexpr std::size_t kSpareDescriptors = 512;

template <class T>
std::string Bytes(const T& value, std::size_t size = sizeof(T)) {
  return {reinterpret_cast<const char*>(&value), size};
}

template <class Member>
std::size_t Most(const Shares& shares, Member member) {
  std::size_t most = 0;
  for (const auto& [source, share] : shares) most = std::max(most, share.*member);
  return most;
}

/// The one to close first; nullptr: none fits.
template <class Fits>
std::shared_ptr<Connection> First(const Hub& hub, Fits fits) {
  std::shared_ptr<Connection> first;
  for (const auto& [key, connection] : hub.connections) {
    if (!fits(*connection)) continue;
    if (!first || std::tuple(connection->rank(), connection->since()) < std::tuple(first->rank(), first->since())) {
      first = connection;
    }
  }
  return first;
}

}  // namespace

std::string SourceOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) return "4" + Bytes(reinterpret_cast<const sockaddr_in&>(address).sin_addr);
  if (address.ss_family != AF_INET6) return "?";
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  // One machine has a whole /64 to choose from.
  return IN6_IS_ADDR_V4MAPPED(&v6) ? "4" + Bytes(v6).substr(12) : "6" + Bytes(v6, 8);
}

std::string SourceOf(const std::optional<identity::PeerInfo>& peer) {
  return peer ? "u" + Bytes(peer->uid) + Bytes(peer->pid) : "?";
}

void Charge::Set(std::size_t bytes) {
  if (bytes == bytes_) return;
  const auto hub = hub_.lock();
  if (!hub) return;
  hub->buffered += bytes - bytes_;
  share_->second.buffered += bytes - bytes_;
  bytes_ = bytes;
  if (bytes == 0) hub->Release(share_);
}

void Hub::Release(Shares::iterator share) {
  const Share& left = share->second;
  if (left.connections == 0 && left.proven == 0 && left.buffered == 0) shares.erase(share);
}

bool Hub::HasRoomFor(const std::string& source) { return unproven < options.limits.connections || Displace(source); }

bool Hub::Displace(const std::string& source) {
  const auto newcomer = shares.find(source);
  const Share* own = newcomer == shares.end() ? nullptr : &newcomer->second;
  const std::size_t held = own == nullptr ? 0 : own->connections;
  const std::size_t most = Most(shares, &Share::connections);
  const auto first = First(*this, [&](const Connection& connection) {
    if (connection.proven() || connection.share().connections < most) return false;
    // Of its own it may replace what does nothing for its caller.
    if (held == most) return &connection.share() == own && connection.rank() <= Connection::Rank::kSilent;
    return connection.rank() != Connection::Rank::kWorking || most > held + 1;
  });
  if (!first) return false;
  if (MayWarn()) obs::Warn("out of connections: the address that holds most gives way", {{"held", most}});
  first->Close();
  return true;
}

bool Hub::FreeDescriptor() { return Most(shares, &Share::connections) > 1 && Displace({}); }

bool Hub::HasProvenRoomFor(const Share& share) {
  if (proven < options.limits.connections) return true;
  const std::size_t most = Most(shares, &Share::proven);
  if (most <= share.proven + 1) return false;
  const auto first = First(*this, [&](const Connection& connection) {
    return connection.proven() && connection.share().proven == most && connection.rank() != Connection::Rank::kWorking;
  });
  if (first) first->Close();
  return first != nullptr;
}

void Hub::CapLingering() {
  if (lingering <= std::max(kFewestLingering, options.limits.connections / kLingeringPart)) return;
  const std::size_t most = Most(shares, &Share::lingering);
  const auto first = First(*this, [&](const Connection& connection) {
    return connection.rank() == Connection::Rank::kLingering && connection.share().lingering == most;
  });
  if (first) first->Close();
}

void Hub::ShedBodies(Connection& last) {
  const std::size_t limit = options.limits.buffered_bytes;
  while (last.share().buffered + buffered > limit) {
    const std::size_t own = last.share().buffered;
    std::shared_ptr<Connection> largest;
    const auto size = [](const Connection& c) { return std::tuple(c.share().buffered, c.refusable()); };
    for (const auto& [key, connection] : connections) {
      if (connection->refusable() == 0 || &connection->share() == &last.share()) continue;
      const bool gives_way = connection->share().buffered > own || (last.proven() && !connection->proven());
      if (gives_way && (!largest || size(*connection) > size(*largest))) largest = connection;
    }
    if (largest) {
      largest->RefuseBody();
      continue;
    }
    // What others hold more of is in work and comes back by itself.
    if (buffered > limit || own == Most(shares, &Share::buffered)) last.RefuseBody();
    return;
  }
}

std::size_t ReservedDescriptors::Add(std::size_t count) {
  static std::mutex mutex;
  static std::size_t reserved = kSpareDescriptors;
  const std::lock_guard lock(mutex);
  reserved += count;
  return reserved;
}

ReservedDescriptors::ReservedDescriptors(std::size_t count) : count_(count) {
  const std::size_t wanted = Add(count);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min<rlim_t>(wanted, limit.rlim_max);
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
    obs::Warn("few descriptors: when they run out, connections are closed early; raise the limit (ulimit -n)",
              {{"limit", static_cast<std::uint64_t>(limit.rlim_cur)}, {"wanted", wanted}});
  }
}

ReservedDescriptors::~ReservedDescriptors() { Add(0 - count_); }

}  // namespace signet::http
