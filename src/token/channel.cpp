#include "token/channel.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <utility>

namespace signet::token {
namespace {

constexpr std::size_t kControlSize = 4096;
constexpr std::size_t kToWorkerSize = 256 * 1024;  // holds a frame of kMaxFrame, whatever else there is
constexpr std::size_t kToFrontSize = 64 * 1024;    // many times what a full house of signatures takes
constexpr std::size_t kSize = 2 * kControlSize + kToWorkerSize + kToFrontSize;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr int kFullPause = 1;  // ms; a front that does not read for so long is stopped or overwhelmed
static_assert(kToWorkerSize > kMaxFrame + 64 && 2 * sizeof(RingControl) < kControlSize);

RingMemory At(void* address, std::size_t control, std::size_t data, std::size_t capacity) {
  auto* base = static_cast<std::uint8_t*>(address);
  return {std::launder(reinterpret_cast<RingControl*>(base + control)), base + data, capacity};
}

base::Error Failed(const char* what) { return base::ErrnoError(base::Code::kInternal, what, errno); }

}  // namespace

base::Result<SharedRings> SharedRings::Create(base::UniqueFd& memory) {
  memory = base::UniqueFd(::memfd_create("signet-hsm-worker", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory.valid() || ::ftruncate(memory.get(), kSize) != 0) return Failed("cannot make memory for a worker");
  if (::fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) return Failed("cannot seal a worker's memory");
  return Map(memory.get());
}

base::Result<SharedRings> SharedRings::Map(int memory) {
  struct ::stat info {};
  if (::fstat(memory, &info) != 0) return Failed("cannot read the memory's size");
  if (info.st_size != static_cast<off_t>(kSize)) {
    return base::MakeError(base::Code::kInternal, "the memory has another size: the programs are not the same");
  }
  SharedRings rings;
  void* address = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (address == MAP_FAILED) return Failed("cannot map a worker's memory");
  rings.address_ = address;
  return rings;
}

SharedRings::SharedRings(SharedRings&& other) noexcept : address_(std::exchange(other.address_, nullptr)) {}

SharedRings& SharedRings::operator=(SharedRings&& other) noexcept {
  std::swap(address_, other.address_);
  return *this;
}

SharedRings::~SharedRings() {
  if (address_ != nullptr) ::munmap(address_, kSize);
}

RingMemory SharedRings::to_worker() const { return At(address_, 0, 2 * kControlSize, kToWorkerSize); }
RingMemory SharedRings::to_front() const {
  return At(address_, kControlSize, 2 * kControlSize + kToWorkerSize, kToFrontSize);
}

void Ring(int socket) {
  const std::uint8_t octet = 0;
  while (::send(socket, &octet, sizeof(octet), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EINTR) {
  }
}

Bell TakeBell(int socket) {
  for (int attempt = 0;; ++attempt) {
    std::uint8_t octet = 0;
    const ssize_t size = ::recv(socket, &octet, sizeof(octet), 0);
    if (size > 0) return Bell::kRung;
    if (size == 0) return Bell::kGone;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return Bell::kSilent;
    // A peer that died with unread bells leaves this once; the end comes after it.
    if (errno == EINTR || (errno == ECONNRESET && attempt < 4)) continue;
    return Bell::kGone;
  }
}

base::Result<WorkerChannel> WorkerChannel::Open() {
  const base::UniqueFd memory(kWorkerMemory);
  TRY(auto rings, SharedRings::Map(memory.get()));
  return WorkerChannel(std::move(rings), kWorkerSocket);
}

Bell WorkerChannel::Wait() {
  if (!reader_.Rest()) return Bell::kRung;
  const Bell bell = TakeBell(socket_);
  reader_.Wake();
  return bell;
}

bool WorkerChannel::FrontIsGone() const {
  std::uint8_t octet = 0;
  const ssize_t size = ::recv(socket_, &octet, sizeof(octet), MSG_PEEK | MSG_DONTWAIT);
  return size == 0 || (size < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

bool WorkerChannel::Write(const FrameHeader& header, base::ByteView body, bool patient) {
  while (!writer_.Write(header, body)) {
    Ring(socket_);
    pollfd end{socket_, 0, 0};  // wakes for the end only
    ::poll(&end, 1, kFullPause);
    if ((end.revents & (POLLHUP | POLLERR)) != 0) return false;
  }
  if (!patient && writer_.TakeRest()) Ring(socket_);
  return true;
}

}  // namespace signet::token
