// The dispatch half of WorkerPool: operations, their order, and what becomes of them.
#include <fmt/format.h>

#include <algorithm>

#include "base/check.hpp"
#include "obs/log.hpp"
#include "token/worker_pool.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;

constexpr auto kReadyPatience = 2000ms;  // how long an operation waits while workers are being replaced

// Past its deadline an operation may be begun for so long: what a hung worker had not begun comes back just then, and
// another one can still do it. As long again, and what a worker has not taken it will refuse: that is far above what
// passes between its taking a frame and its look at the clock.
constexpr auto kGrace = 250ms;

// What waits in the queue goes to the first worker that is free; what waits in a worker, only to this one. Frames are
// sent ahead because a signature can take less time than the way to a worker: behind one that has taken far more than
// that, they gain nothing and may lose their time.
constexpr auto kQuick = 50ms;

double Seconds(base::SteadyPoint from, base::SteadyPoint to) {
  return std::chrono::duration<double>(to - from).count();
}

std::chrono::milliseconds Grace(std::chrono::milliseconds limit) {
  return std::min<std::chrono::milliseconds>(kGrace, limit / 2);
}

std::uint64_t IdOf(std::uint32_t index, std::uint32_t generation) {
  return static_cast<std::uint64_t>(generation) << 32 | index;
}

}  // namespace

base::Error WorkerPool::Unavailable() const {
  return base::MakeError(base::Code::kUnavailable, "HSMUnavailable",
                         state_.ready ? "the HSM is busy; ask again later"
                                      : fmt::format("the HSM is not ready ({}): {}", state_.reason, state_.message));
}

std::uint32_t WorkerPool::NewOp(FrameType type, Milliseconds limit) {
  if (free_ops_.empty()) {
    ops_.emplace_back();
    free_ops_.push_back(static_cast<std::uint32_t>(ops_.size() - 1));
  }
  const std::uint32_t index = free_ops_.back();
  free_ops_.pop_back();
  Op& op = ops_[index];
  op.live = true;
  op.queued = false;
  op.lost = false;
  op.header = {};
  op.header.type = type;
  op.header.id = IdOf(index, op.generation);
  op.limit = limit;
  op.submitted = clock_.Steady();
  op.deadline = op.submitted + limit;
  op.header.begin_by = BeginBy(op.deadline + Grace(limit));
  ++live_ops_;
  return index;
}

WorkerPool::Op* WorkerPool::Live(std::uint64_t id) {
  const auto index = static_cast<std::uint32_t>(id);
  if (index >= ops_.size()) return nullptr;
  Op& op = ops_[index];
  return op.live && op.header.id == id ? &op : nullptr;
}

void WorkerPool::Release(Op& op) {
  op.live = false;
  ++op.generation;
  op.identity = nullptr;
  op.sign = nullptr;
  op.find = nullptr;
  --live_ops_;
  free_ops_.push_back(static_cast<std::uint32_t>(&op - ops_.data()));
}

void WorkerPool::Sign(KeyRef key, const KeyIdentity& identity, encoding::SignatureAlgorithm algorithm,
                      base::ByteView input, SignCallback done) {
  const std::uint32_t index = NewOp(FrameType::kSign, options_.sign_timeout);
  Op& op = ops_[index];
  op.header.detail = static_cast<std::uint8_t>(algorithm);
  op.header.number = key;
  op.body.assign(input.begin(), input.end());
  op.identity = &identity;
  op.sign = std::move(done);
  Submit(index);
}

void WorkerPool::Find(const encoding::Pkcs11Uri& uri, FindCallback done) {
  const std::uint32_t index = NewOp(FrameType::kFind, options_.sign_timeout);
  ops_[index].body = FrameWriter().Text(encoding::FormatPkcs11Uri(uri)).U8(0).U32(0).Take();
  ops_[index].find = std::move(done);
  Submit(index);
}

void WorkerPool::Generate(const encoding::Pkcs11Uri& uri, const GenerateSpec& spec, FindCallback done) {
  const std::uint32_t index = NewOp(FrameType::kGenerate, options_.generate_timeout);
  ops_[index].body = FrameWriter()
                         .Text(encoding::FormatPkcs11Uri(uri))
                         .U8(static_cast<std::uint8_t>(spec.algorithm))
                         .U32(static_cast<std::uint32_t>(spec.bits))
                         .Take();
  ops_[index].find = std::move(done);
  Submit(index);
}

void WorkerPool::Submit(std::uint32_t index) {
  if (queue_.empty() && TrySend(index)) return ScheduleTick();
  if (!state_.ready && state_.reason != "Starting") return FinishLater(index, Unavailable());
  if (queue_.size() >= options_.queue_limit) {
    return FinishLater(index, base::MakeError(base::Code::kResourceExhausted, "Busy",
                                              "too many operations wait for the HSM; ask again later"));
  }
  ops_[index].queued = true;
  queue_.push_back(ops_[index].header.id);
  ScheduleTick();
}

/// Whether an operation that is sent to it now can expect its turn soon.
bool WorkerPool::HasRoom(const Worker& worker, base::SteadyPoint now) {
  if (worker.phase != Phase::kReady || worker.hung || worker.ousted) return false;
  if (worker.in_flight.empty()) return true;
  // Nothing goes behind a Find or a Generate, which is therefore the last: they take as long as they like.
  return worker.in_flight.size() < kMaxInFlight && worker.in_flight.back().type == FrameType::kSign && !worker.slow &&
         now - worker.head_since <= kQuick;
}

WorkerPool::Worker* WorkerPool::LeastLoaded(base::SteadyPoint now) {
  Worker* best = nullptr;
  for (auto& worker : workers_) {
    if (!HasRoom(worker, now)) continue;
    if (best == nullptr || worker.in_flight.size() < best->in_flight.size()) best = &worker;
  }
  return best;
}

bool WorkerPool::TrySend(std::uint32_t index) {
  const auto now = clock_.Steady();
  Worker* worker = LeastLoaded(now);
  if (worker == nullptr) return false;
  Op& op = ops_[index];
  if (op.identity != nullptr) {
    const KeyRef key = op.header.number;
    if (worker->knows_key.size() <= key) worker->knows_key.resize(key + 1);
    if (!worker->knows_key[key]) {
      FrameHeader header;
      header.type = FrameType::kDefineKey;
      header.number = key;
      FrameWriter body;
      Write(body, *op.identity);
      if (!worker->process->Send(header, body.bytes())) return false;
      worker->knows_key[key] = true;
    }
  }
  if (!worker->process->Send(op.header, op.body)) return false;
  op.queued = false;
  if (worker->in_flight.empty()) worker->head_since = now;
  worker->in_flight.push_back({op.header.id, op.header.type, op.limit, worker->process->position()});
  queue_seconds_.Observe(Seconds(op.submitted, now));
  return true;
}

void WorkerPool::DispatchQueue() {
  while (!queue_.empty()) {
    Op* op = Live(queue_.front());
    if (op != nullptr && !TrySend(static_cast<std::uint32_t>(op - ops_.data()))) return;
    queue_.pop_front();
  }
}

void WorkerPool::Requeue(std::uint64_t id) {
  Op* op = Live(id);
  if (op == nullptr) return;
  op->queued = true;
  queue_.push_front(id);
}

void WorkerPool::OnDone(std::size_t index, const FrameHeader& header, base::ByteView body) {
  Worker& worker = workers_[index];
  if (worker.in_flight.empty() || worker.in_flight.front().id != header.id) {
    return ProtocolError(index, "an answer to another question");
  }
  worker.in_flight.pop_front();
  worker.head_since = clock_.Steady();
  Op* op = Live(header.id);
  const auto progress = static_cast<Progress>(header.detail);
  if (op == nullptr) return;  // its caller knows already that its time was over
  if (progress == Progress::kNotReady) return Requeue(header.id);
  if (progress == Progress::kExpired) return Finish(header.id, Unavailable());
  FrameReader reader(body);
  if (progress == Progress::kLost && !op->lost) {
    op->lost = true;
    obs::Warn("an HSM operation is asked once more", {{"token", options_.name}, {"error", reader.Err().message}});
    return Requeue(header.id);
  }
  (op->sign ? sign_seconds_ : other_seconds_).Observe(header.number / 1e6);
  if (progress != Progress::kOk) return Finish(header.id, reader.Err());
  if (op->sign) {
    worker.slow = std::chrono::microseconds(header.number) > kQuick;
    const auto done = std::move(op->sign);
    Release(*op);
    return done(base::ToBytes(body));
  }
  const auto done = std::move(op->find);
  Release(*op);
  done(ReadProvenKey(reader));
}

void WorkerPool::Finish(std::uint64_t id, const base::Error& error) {
  Op* op = Live(id);
  if (op == nullptr) return;
  const auto sign = std::move(op->sign);
  const auto find = std::move(op->find);
  Release(*op);
  if (sign) sign(error);
  if (find) find(error);
}

void WorkerPool::FinishLater(std::uint32_t index, base::Error error) {
  Op& op = ops_[index];
  reactor_.Post([sign = std::move(op.sign), find = std::move(op.find), error = std::move(error)] {
    if (sign) sign(error);
    if (find) find(error);
  });
  Release(op);
}

void WorkerPool::ReturnOps(Worker& worker, bool begun, const base::Error& head_error) {
  const std::deque<InFlight> returned = std::exchange(worker.in_flight, {});
  // A worker does one thing at a time, in order: behind the first, nothing was begun.
  for (std::size_t i = returned.size(); i-- > 1;) Requeue(returned[i].id);
  if (returned.empty()) return;
  Op* head = Live(returned.front().id);
  if (head == nullptr) return;
  if (!begun) return Requeue(returned.front().id);  // it had not even read it
  if (head->header.type == FrameType::kFind && !head->lost) {
    head->lost = true;
    return Requeue(returned.front().id);
  }
  if (head->header.type == FrameType::kSign) abandoned_.Add();
  Finish(returned.front().id, head_error);
}

void WorkerPool::Expire(base::SteadyPoint now) {
  if (live_ops_ == 0) return;
  const bool hopeless = !state_.ready && state_.reason != "Starting";
  std::vector<std::uint64_t> ended;
  for (const Op& op : ops_) {
    if (!op.live || !op.queued) continue;
    const bool impatient = !state_.ready && now - op.submitted > kReadyPatience;
    if (hopeless || impatient || now >= op.deadline) ended.push_back(op.header.id);
  }
  for (const Worker& worker : workers_) {
    for (const InFlight& entry : worker.in_flight) {
      const Op* op = Live(entry.id);
      if (op == nullptr || now < op->deadline + 2 * Grace(op->limit)) continue;
      // What is still in the memory will be refused when its turn comes. What was taken ends with the worker's answer,
      // or with the worker: only then is known what became of it.
      if (!worker.process->Taken(entry.position)) ended.push_back(entry.id);
    }
  }
  for (const std::uint64_t id : ended) Finish(id, Unavailable());
  std::erase_if(queue_, [this](std::uint64_t id) { return Live(id) == nullptr; });
}

}  // namespace signet::token
