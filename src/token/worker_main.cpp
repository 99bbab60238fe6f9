// The worker process: one thread, one token, one small frame in, one small frame out.
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "base/clock.hpp"
#include "base/secret.hpp"
#include "obs/log.hpp"
#include "token/channel.hpp"
#include "token/launcher.hpp"
#include "token/pin_file.hpp"
#include "token/worker_hsm.hpp"
#include "token/worker_messages.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;
using Health = TokenSession::Health;
using pkcs11::Consequence;

constexpr auto kProbeInterval = 10s;  // ready and idle: is the token still there?
constexpr auto kWaitInterval = 5s;    // waiting for a login
constexpr auto kFirstRetry = 250ms;   // no token
constexpr auto kLastRetry = 5000ms;
constexpr int kFirstAttempts = 14;     // about a second: see Module::AwaitTokens
constexpr int kRetriesPerProcess = 8;  // some modules do not initialise twice: then a new process must
constexpr int kExitReplaceMe = 75;
constexpr auto kPatience = 500us;  // the front hears of an answer at the latest now, or with the next one

/// The error as callers get it. One that came after the signing call had begun is final. Before that nothing was
/// signed: unless the answer is about key, mechanism or input, the same call may work later.
base::Error ForCaller(base::Error error, bool not_begun) {
  const bool device = error.code == base::Code::kInternal || error.code == base::Code::kPermissionDenied;
  if (not_begun && device) error.code = base::Code::kUnavailable;
  if (error.code == base::Code::kPermissionDenied) error.code = base::Code::kFailedPrecondition;
  if (error.code == base::Code::kUnavailable && !not_begun) {
    error.code = base::Code::kInternal;
    error.reason.clear();
    error.message += "; whether it signed is unknown";
  }
  if (error.code == base::Code::kUnavailable) error.reason = "HSMUnavailable";
  return error;
}

bool MayRepeat(Consequence consequence) {
  return consequence == Consequence::kReplay || consequence == Consequence::kReinitialise ||
         consequence == Consequence::kSuspect;
}

volatile std::sig_atomic_t parent_died = 0;

class Worker {
 public:
  explicit Worker(WorkerChannel channel) : channel_(std::move(channel)) {}
  int Run();

 private:
  void Handle(const FrameHeader& header, base::ByteView body);
  void Configure(FrameReader reader);
  void ReadPin(base::ByteView key);
  void Login(bool known_good);
  void Sign(const FrameHeader& header, base::ByteView input);
  void ReportProofs();
  void FindOrGenerate(const FrameHeader& header, FrameReader reader);
  void OnQuiet();
  void TryOpen(int attempts);
  void ReportIfChanged();
  void SetTimeout(std::chrono::milliseconds timeout);

  void Send(FrameType type, std::uint8_t detail, const FrameWriter& body);
  void Done(const FrameHeader& request, Progress progress, base::SteadyPoint begun, base::ByteView body);
  void DoneWithError(const FrameHeader& request, base::SteadyPoint begun, const base::Error& error);
  void Put(const FrameHeader& header, base::ByteView body, bool patient = false);
  bool Wait();

  const base::Clock& clock_ = base::SystemClock();
  WorkerChannel channel_;
  std::optional<TokenSession> token_;
  ConfigureMessage configuration_;
  base::Secret pin_;  // between ReadPin and what the front decides
  int retries_ = 0;
  std::chrono::milliseconds retry_{kFirstRetry};
  base::SteadyPoint next_retry_{};
  std::chrono::milliseconds timeout_{-1};
  base::SteadyPoint told_ = base::SteadyPoint::max();  ///< when the oldest answer was begun that no bell told of
  std::optional<Health> reported_;
  std::string reported_reason_;
  bool ended_ = false;
};

int Worker::Run() {
  base::Bytes frame(kMaxFrame);
  while (!ended_) {
    std::size_t size = 0;
    const auto got = channel_.Read(frame, size);
    if (got == RingReader::Got::kBroken) return 1;
    if (got == RingReader::Got::kFrame) {
      // What a front has left behind that is no more: nobody would hear the answer.
      if (parent_died != 0 && channel_.FrontIsGone()) return 0;
      FrameHeader header;
      std::memcpy(&header, frame.data(), sizeof(header));
      Handle(header, base::ByteView(frame).first(size).subspan(sizeof(header)));
      // Operations that bounce must not keep a token away from being looked for.
      if (token_ && token_->health() == Health::kDown && clock_.Steady() >= next_retry_) OnQuiet();
    } else if (!Wait()) {
      return 0;
    }
    ReportIfChanged();
  }
  return kExitReplaceMe;
}

/// False: the front process is gone.
bool Worker::Wait() {
  if (token_ && token_->health() == Health::kReady) {
    SetTimeout(kProbeInterval);
  } else if (token_) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_retry_ - clock_.Steady());
    SetTimeout(std::clamp<std::chrono::milliseconds>(left, 1ms, kWaitInterval));
  }
  const Bell bell = channel_.Wait();
  if (bell == Bell::kSilent) OnQuiet();
  return bell != Bell::kGone;
}

void Worker::Handle(const FrameHeader& header, base::ByteView body) {
  FrameReader reader(body);
  switch (header.type) {
    case FrameType::kSign:
      return Sign(header, body);
    case FrameType::kConfigure:
      return Configure(reader);
    case FrameType::kReadPin:
      return ReadPin(body);
    case FrameType::kLogin:
      return Login(header.detail != 0);
    case FrameType::kForgetPin:
      return pin_.Wipe();
    case FrameType::kDefineKey: {
      if (token_) token_->DefineKey(header.number, ReadKeyIdentity(reader));
      return;
    }
    case FrameType::kFind:
    case FrameType::kGenerate:
      return FindOrGenerate(header, reader);
    default:
      ended_ = true;
  }
}

void Worker::Configure(FrameReader reader) {
  configuration_ = ReadConfigure(reader);
  TokenChoice choice;
  if (!configuration_.token_uri.empty()) {
    auto uri = encoding::ParsePkcs11Uri(configuration_.token_uri);
    if (!reader.ok() || !uri) {
      ended_ = true;
      return;
    }
    choice.uri = *std::move(uri);
  }
  choice.serial = configuration_.token_serial;
  token_.emplace(configuration_.module, std::move(choice));
  TryOpen(kFirstAttempts);
}

void Worker::TryOpen(int attempts) {
  if (token_->Open(attempts)) {
    retries_ = 0;
    retry_ = kFirstRetry;
    next_retry_ = clock_.Steady() + kWaitInterval;
    return;
  }
  next_retry_ = clock_.Steady() + retry_;
  retry_ = std::min<std::chrono::milliseconds>(retry_ * 2, kLastRetry);
  if (++retries_ > kRetriesPerProcess) ended_ = true;
}

void Worker::OnQuiet() {
  if (!token_) return;
  switch (token_->health()) {
    case Health::kReady:
      if (!token_->Alive()) token_->Heal(Consequence::kReinitialise);
      return;
    case Health::kWantsLogin:
      next_retry_ = clock_.Steady() + kWaitInterval;
      if (!token_->Refresh()) token_->Heal(Consequence::kReinitialise);
      return;
    case Health::kDown:
      return TryOpen(1);
  }
}

void Worker::ReportIfChanged() {
  if (!token_) return;
  const Health health = token_->health();
  const std::string reason = health == Health::kDown ? token_->trouble().reason : std::string();
  if (reported_ == health && reported_reason_ == reason) return;
  reported_ = health;
  reported_reason_ = reason;
  StatusMessage status;
  if (health == Health::kDown) status.trouble = token_->trouble();
  status.token = token_->token();
  FrameWriter body;
  Write(body, status);
  Send(FrameType::kStatus, static_cast<std::uint8_t>(health), body);
}

void Worker::ReadPin(base::ByteView key) {
  PinReadMessage message;
  pin_.Wipe();
  if (!token_ || token_->health() != Health::kWantsLogin) {
    message.trouble = base::MakeError(base::Code::kUnavailable, "HSMUnavailable", "the token is not open");
  } else if (auto token = token_->Refresh(); !token) {
    message.trouble = token.error();
    message.trouble.reason = "HSMUnavailable";
    token_->Heal(Consequence::kReinitialise);
  } else if (auto file = ReadPinFile(configuration_.pin_file); !file) {
    message.trouble = file.error();
    message.token = *token;
  } else if (auto sized =
                 CheckPinSize(configuration_.pin_file, file->pin.Reveal().size(), token->min_pin, token->max_pin);
             !sized) {
    message.trouble = sized.error();
    message.token = *token;
  } else {
    message.read = true;
    message.token = *token;
    message.file = file->identity;
    message.fingerprint = PinFingerprint(file->pin, key);
    pin_ = std::move(file->pin);
  }
  FrameWriter body;
  Write(body, message);
  Send(FrameType::kPinRead, 0, body);
}

void Worker::Login(bool known_good) {
  LoginResultMessage result;
  if (pin_.empty() || !token_) {
    result.trouble = base::MakeError(base::Code::kUnavailable, "HSMUnavailable", "the token is not open");
  } else {
    const pkcs11::TokenInfo before = token_->token();
    const auto accepted = token_->Login(pin_.Reveal());
    result.tried = true;
    if (accepted) {
      // A user who was logged in already has not shown that this PIN is right.
      result.outcome = *accepted ? LoginOutcome::kAccepted : LoginOutcome::kUncounted;
    } else {
      result.trouble = accepted.error();
      const auto now = token_->Refresh();  // a token that cannot be asked says nothing more
      const PinFlags flags = now ? FlagsSince(before, *now) : PinFlags{};
      result.outcome = ClassifyLogin(base::Status(result.trouble), known_good, flags);
      if (result.outcome != LoginOutcome::kRefused) token_->Heal(pkcs11::ConsequenceOf(result.trouble));
    }
  }
  pin_.Wipe();
  FrameWriter body;
  Write(body, result);
  Send(FrameType::kLoginResult, 0, body);
}

void Worker::Sign(const FrameHeader& header, base::ByteView input) {
  const auto begun = clock_.Steady();
  // Its caller has been told, or is about to be, that nothing was begun.
  if (BeginBy(begun) >= header.begin_by) return Done(header, Progress::kExpired, begun, {});
  if (!token_ || token_->health() != Health::kReady) return Done(header, Progress::kNotReady, begun, {});
  if (header.detail >= encoding::Algorithms().size()) {
    ended_ = true;
    return;
  }
  for (int attempt = 0;; ++attempt) {
    auto outcome = token_->Sign(header.number, static_cast<encoding::SignatureAlgorithm>(header.detail), input);
    ReportProofs();
    if (outcome.sign.signature) return Done(header, Progress::kOk, begun, *outcome.sign.signature);
    base::Error& error = outcome.sign.signature.error();
    const Consequence consequence = outcome.lost_key ? Consequence::kReinitialise : pkcs11::ConsequenceOf(error);
    const bool healed = token_->Heal(consequence) == Health::kReady;
    if (!outcome.sign.not_begun || !MayRepeat(consequence)) {
      return DoneWithError(header, begun, ForCaller(std::move(error), outcome.sign.not_begun));
    }
    if (!healed || attempt > 0) {
      FrameWriter body;
      body.Err(ForCaller(std::move(error), true));
      return Done(header, Progress::kLost, begun, body.bytes());
    }
  }
}

void Worker::ReportProofs() {
  for (const KeyProof& proof : token_->TakeProofs()) {
    FrameWriter body;
    Write(body, proof);
    Send(FrameType::kProven, 0, body);
  }
}

void Worker::FindOrGenerate(const FrameHeader& header, FrameReader reader) {
  const auto begun = clock_.Steady();
  if (BeginBy(begun) >= header.begin_by) return Done(header, Progress::kExpired, begun, {});
  if (!token_ || token_->health() != Health::kReady) return Done(header, Progress::kNotReady, begun, {});
  auto uri = encoding::ParsePkcs11Uri(reader.Text());
  GenerateSpec spec;
  spec.algorithm = static_cast<encoding::KeyAlgorithm>(reader.U8() % 3);
  spec.bits = static_cast<int>(reader.U32());
  if (!uri || !reader.ok()) {
    return DoneWithError(header, begun, base::MakeError(base::Code::kInvalidArgument, "Malformed", "bad key URI"));
  }
  const bool find = header.type == FrameType::kFind;
  for (int attempt = 0;; ++attempt) {
    auto found = find ? token_->Find(*uri) : token_->Generate(*uri, spec);
    ReportProofs();
    if (found) {
      FrameWriter body;
      Write(body, *found);
      return Done(header, Progress::kOk, begun, body.bytes());
    }
    const Consequence consequence = pkcs11::ConsequenceOf(found.error());
    const bool healed = token_->Heal(consequence) == Health::kReady;
    // A key search can be repeated whatever happened; generating must not be done twice.
    const bool not_begun = find || !token_->generate_begun() || pkcs11::CertainlyNotBegun(found.error());
    if (!MayRepeat(consequence) || !not_begun) {
      return DoneWithError(header, begun, ForCaller(std::move(found).error(), not_begun));
    }
    if (!healed || attempt > 0) {
      FrameWriter body;
      body.Err(ForCaller(std::move(found).error(), true));
      return Done(header, Progress::kLost, begun, body.bytes());
    }
  }
}

void Worker::DoneWithError(const FrameHeader& request, base::SteadyPoint begun, const base::Error& error) {
  FrameWriter body;
  body.Err(error);
  Done(request, Progress::kError, begun, body.bytes());
}

void Worker::Done(const FrameHeader& request, Progress progress, base::SteadyPoint begun, base::ByteView body) {
  FrameHeader header;
  header.type = FrameType::kDone;
  header.detail = static_cast<std::uint8_t>(progress);
  header.id = request.id;
  const auto now = clock_.Steady();
  const auto spent = std::chrono::duration_cast<std::chrono::microseconds>(now - begun).count();
  header.number = static_cast<std::uint32_t>(std::clamp<std::int64_t>(spent, 0, UINT32_MAX));
  // Waking the front costs more than the frame. While there is enough to do, and as quickly done, one bell does for
  // several answers.
  told_ = std::min(told_, begun);
  const bool patient = progress == Progress::kOk && now - told_ < kPatience && channel_.NextIsLike(request);
  Put(header, body, patient);
  if (!patient) told_ = base::SteadyPoint::max();
}

void Worker::Send(FrameType type, std::uint8_t detail, const FrameWriter& body) {
  FrameHeader header;
  header.type = type;
  header.detail = detail;
  Put(header, body.bytes());
}

void Worker::Put(const FrameHeader& header, base::ByteView body, bool patient) {
  if (!channel_.Write(header, body, patient)) ended_ = true;
}

void Worker::SetTimeout(std::chrono::milliseconds timeout) {
  if (timeout == timeout_) return;
  timeout_ = timeout;
  timeval value{};
  value.tv_sec = timeout.count() / 1000;
  value.tv_usec = timeout.count() % 1000 * 1000;
  ::setsockopt(kWorkerSocket, SOL_SOCKET, SO_RCVTIMEO, &value, sizeof(value));
}

constexpr unsigned kOrphanSeconds = 20;

/// A worker whose parent died ends at the end of its socket, once the call in work is over. Killing it
/// there and then could cut a write of the module in two: SoftHSM rewrites the token's own file at each
/// login, and half of it is no token any more. A call that never ends is cut after kOrphanSeconds.
void OnOrphaned(int /*signal*/) {
  parent_died = 1;
  ::alarm(kOrphanSeconds);
}

/// The PIN passes through this memory: no core file, no debugger of the same user.
void Harden() {
  struct sigaction orphaned {};
  orphaned.sa_handler = OnOrphaned;
  orphaned.sa_flags = SA_RESTART;
  ::sigaction(SIGTERM, &orphaned, nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ::prctl(PR_SET_NAME, "hsm-worker");
  process::HardenBasics();
}

}  // namespace

std::optional<int> MaybeRunWorker(int argc, char** argv) {
  if (argc >= 2 && std::strcmp(argv[1], kLauncherArgument) == 0) return RunLauncher(argc, argv);
  if (argc < 2 || kWorkerArgument != argv[1]) return std::nullopt;
  int kind = 0;
  socklen_t size = sizeof(kind);
  if (argc != 2 || ::getsockopt(kWorkerSocket, SOL_SOCKET, SO_TYPE, &kind, &size) != 0 || kind != SOCK_SEQPACKET) {
    std::fputs("signet: hsm-worker is started by signet itself, not by hand\n", stderr);
    return 2;
  }
  Harden();
  auto channel = WorkerChannel::Open();
  if (!channel) {
    std::fprintf(stderr, "signet: hsm-worker: %s\n", base::Describe(channel.error()).c_str());
    return 1;
  }
  return Worker(*std::move(channel)).Run();
}

}  // namespace signet::token
