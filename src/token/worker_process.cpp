#include "token/worker_process.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace signet::token {

base::Result<std::unique_ptr<WorkerProcess>> WorkerProcess::Start(Launcher& launcher, base::Reactor& reactor,
                                                                  std::function<void()> on_bell) {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return base::ErrnoError(base::Code::kInternal, "cannot make a socket for a worker", errno);
  }
  base::UniqueFd ours(ends[0]);
  const base::UniqueFd theirs(ends[1]);
  ::fcntl(ours.get(), F_SETFL, ::fcntl(ours.get(), F_GETFL) | O_NONBLOCK);
  base::UniqueFd memory;
  TRY(SharedRings rings, SharedRings::Create(memory));
  TRY(const pid_t pid, launcher.StartWorker(theirs.get(), memory.get()));
  std::unique_ptr<WorkerProcess> worker(new WorkerProcess(reactor, launcher, pid, std::move(ours), std::move(rings)));
  worker->watch_ = reactor.WatchReadable(worker->socket_.get(), std::move(on_bell));
  return worker;
}

WorkerProcess::~WorkerProcess() {
  reactor_.Unwatch(watch_);
  socket_.Close();  // the worker reads the end and goes
  launcher_.Release(pid_);
}

bool WorkerProcess::Send(const FrameHeader& header, base::ByteView body) {
  if (!writer_.Write(header, body)) return false;
  if (writer_.TakeRest()) Ring(socket_.get());
  return true;
}

WorkerProcess::Received WorkerProcess::Receive(FrameHeader& header, base::ByteView& body) {
  std::size_t size = 0;
  const Received got = reader_.Read(buffer_, size);
  if (got != Received::kFrame) return got;
  std::memcpy(&header, buffer_.data(), sizeof(header));
  body = base::ByteView(buffer_).first(size).subspan(sizeof(header));
  return got;
}

void WorkerProcess::Kill() { launcher_.Kill(pid_); }

}  // namespace signet::token
