#include "http/resolver.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "base/unique_fd.hpp"

namespace signet::http {
namespace {

using base::Code;
using base::MakeError;

constexpr std::size_t kMostAddresses = 64;

base::Result<Resolver::Addresses> Ask(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &list); error != 0) {
    return MakeError(Code::kUnavailable, "NameNotResolved",
                     "the name " + host + " has no address: " + ::gai_strerror(error));
  }
  Resolver::Addresses addresses;
  for (const addrinfo* entry = list; entry != nullptr && addresses.size() < kMostAddresses; entry = entry->ai_next) {
    std::array<char, NI_MAXHOST> text{};
    if (::getnameinfo(entry->ai_addr, entry->ai_addrlen, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) != 0) {
      continue;
    }
    std::string address(text.data());
    if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
      addresses.push_back(std::move(address));
    }
  }
  ::freeaddrinfo(list);
  if (addresses.empty())
    return MakeError(Code::kUnavailable, "NameNotResolved", "the name " + host + " has no address");
  return addresses;
}

class SystemResolver final : public Resolver {
 public:
  explicit SystemResolver(base::Reactor& reactor) : reactor_(reactor) {
    mailbox_->bell = base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    watch_ = reactor_.WatchReadable(mailbox_->bell.get(), [this] { Collect(); });
  }
  SystemResolver(const SystemResolver&) = delete;
  SystemResolver& operator=(const SystemResolver&) = delete;
  ~SystemResolver() override { reactor_.Unwatch(watch_); }

  void Resolve(const std::string& host, Done done) override {
    auto& waiting = waiting_[host];
    if (std::exchange(waiting, std::move(done))) return;
    try {
      std::thread([host, mailbox = mailbox_] { mailbox->Put(host, Ask(host)); }).detach();
    } catch (const std::system_error&) {
      mailbox_->Put(host, MakeError(Code::kUnavailable, "NameNotResolved", "no thread to look up the name " + host));
    }
  }

 private:
  /// What threads and loop share; lives as long as the last of them.
  struct Mailbox {
    void Put(const std::string& host, base::Result<Addresses> result) {
      const std::lock_guard lock(mutex);
      results.emplace_back(host, std::move(result));
      const std::uint64_t one = 1;
      [[maybe_unused]] const ssize_t rung = ::write(bell.get(), &one, sizeof(one));
    }
    base::UniqueFd bell;
    std::mutex mutex;
    std::vector<std::pair<std::string, base::Result<Addresses>>> results;  ///< guarded by mutex
  };

  void Collect() {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t heard = ::read(mailbox_->bell.get(), &count, sizeof(count));
    std::vector<std::pair<std::string, base::Result<Addresses>>> results;
    {
      const std::lock_guard lock(mailbox_->mutex);
      results.swap(mailbox_->results);
    }
    for (auto& [host, result] : results) {
      auto waiting = waiting_.extract(host);
      if (!waiting.empty() && waiting.mapped()) waiting.mapped()(std::move(result));
    }
  }

  base::Reactor& reactor_;
  std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  base::Reactor::Id watch_ = 0;
  std::map<std::string, Done> waiting_;
};

}  // namespace

std::unique_ptr<Resolver> Resolver::System(base::Reactor& reactor) { return std::make_unique<SystemResolver>(reactor); }

bool IsAddress(const std::string& host) {
  std::array<unsigned char, 16> octets{};
  return ::inet_pton(AF_INET, host.c_str(), octets.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), octets.data()) == 1;
}

}  // namespace signet::http
