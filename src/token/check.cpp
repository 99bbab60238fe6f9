#include "token/check.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "base/printable.hpp"
#include "base/unique_fd.hpp"
#include "pkcs11/rv.hpp"
#include "token/pin_file.hpp"
#include "token/pin_guard.hpp"
#include "token/token_session.hpp"

namespace signet::token {
namespace {

constexpr int kAttempts = 14;
constexpr base::Duration kClaim = std::chrono::minutes(2);
constexpr int kExitHsm = 4;

class Checker {
 public:
  explicit Checker(const CheckOptions& options) : options_(options) {}

  CheckReport Run() {
    if (!CheckModule()) return std::move(report_);
    for (const auto& token : options_.tokens) CheckToken(token);
    for (const auto& key : options_.keys) CheckKey(key);
    return std::move(report_);
  }

 private:
  struct OpenToken {
    pkcs11::TokenInfo info;
    pkcs11::Session session;
    bool logged_in;
  };

  void Add(bool ok, std::string what, std::string detail) {
    report_.ok &= ok;
    report_.lines.push_back({ok, std::move(what), std::move(detail)});
    if (options_.on_line) options_.on_line(report_.lines.back());
  }

  bool CheckModule() {
    auto loaded = pkcs11::Module::Load(options_.module);
    if (!loaded) {
      Add(false, "module", loaded.error().message);
      return false;
    }
    module_ = *std::move(loaded);
    // Waiting for a token is part of initialising: see Module::AwaitTokens.
    auto tokens = module_->AwaitTokens([](const pkcs11::TokenInfo&) { return true; }, kAttempts);
    auto info = tokens ? module_->Info() : base::Result<pkcs11::ModuleInfo>(tokens.error());
    if (!info) {
      Add(false, "module", "cannot initialise " + options_.module + ": " + base::Describe(info.error()));
      return false;
    }
    tokens_ = *std::move(tokens);
    Add(true, "module",
        fmt::format("{}: {} {}.{} by {}, PKCS#11 {}.{}", options_.module, info->description, info->library_major,
                    info->library_minor, info->manufacturer, info->cryptoki_major, info->cryptoki_minor));
    return true;
  }

  void CheckToken(const TokenOptions& wanted) {
    const TokenChoice choice{wanted.uri, ""};
    std::vector<pkcs11::TokenInfo> fitting;
    for (const auto& token : tokens_) {
      if (choice.Fits(token)) fitting.push_back(token);
    }
    pkcs11::PreferInitialised(fitting);
    if (fitting.size() != 1) {
      std::string visible;
      for (const auto& token : tokens_) visible += fmt::format(" '{}'", token.label);
      Add(false, "token",
          fmt::format("{} of the {} initialised tokens that the module shows fit{}{}: {}", fitting.size(),
                      tokens_.size(), visible.empty() ? "" : "; it shows", visible,
                      tokens_.empty() ? "initialise one, or check the module's configuration"
                                      : "name one (--token LABEL, or hsm.tokens with its serial)"));
      report_.fatal_configuration |= fitting.size() > 1;
      return;
    }
    const auto& token = fitting.front();
    std::string flags;
    if (token.pin_locked) flags += ", user PIN locked";
    if (token.pin_final_try) flags += ", one last PIN attempt left";
    if (!token.user_pin_initialised) flags += ", says that no user PIN is set";
    Add(!token.pin_locked && !token.pin_final_try, "token",
        fmt::format("'{}', serial {}, {} {}{}", token.label, token.serial, token.manufacturer, token.model, flags));
    auto session = pkcs11::Session::Open(module_, token.slot, pkcs11::Session::Mode::kReadOnly);
    if (!session) return Add(false, "token", "cannot open a session: " + base::Describe(session.error()));
    open_.push_back({token, *std::move(session), false});
    if (options_.login) Login(open_.back(), wanted.pin_file);
  }

  void Login(OpenToken& token, const std::string& pin_file) {
    if (token.info.pin_locked || token.info.pin_final_try) {
      return Add(false, "login", "not tried: the token says that its PIN is locked or has one attempt left");
    }
    auto file = ReadPinFile(pin_file);
    if (!file) return Add(false, "login", base::Describe(file.error()));
    auto sized = CheckPinSize(pin_file, file->pin.Reveal().size(), token.info.min_pin, token.info.max_pin);
    if (!sized) return Add(false, "login", base::Describe(sized.error()));
    std::string pin;
    PinGuard::Verdict verdict;
    auto claimed = WithGuard(token.info, [&](PinGuard& guard) {
      pin = PinFingerprint(file->pin, guard.key());
      verdict = guard.Claim(pin, base::Bytes(guard.key()), holder_, base::SystemClock().Now(), kClaim,
                            [&](const std::string& other) { return memory_->IsGone(other); });
    });
    if (!claimed) return Add(false, "login", "not tried: " + base::Describe(claimed.error()));
    if (verdict.kind != PinGuard::Verdict::Kind::kTry) {
      const bool taken = verdict.answer.empty();
      return Add(false, "login", "not tried: " + (taken ? "another process tries it now" : verdict.answer));
    }
    const auto login = token.session.Login(file->pin.Reveal());
    token.logged_in = login.has_value() || (!token.info.login_required && pkcs11::HasNoLogin(login.error()));
    const auto settled = WithGuard(token.info, [&](PinGuard& guard) {
      guard.Settle(pin, holder_, OutcomeOf(login, verdict.known_good, token.info),
                   login ? "" : base::Describe(login.error()), base::SystemClock().Now());
    });
    Add(token.logged_in, "login",
        token.logged_in
            ? fmt::format("the PIN in {} opens '{}'", pin_file, token.info.label)
            : fmt::format("{}: put the right PIN into {} before another try", base::Describe(login.error()), pin_file));
    if (!settled) Add(false, "login", "not remembered: " + base::Describe(settled.error()));
  }

  LoginOutcome OutcomeOf(const base::Result<bool>& login, bool known_good, const pkcs11::TokenInfo& before) const {
    if (login) return *login ? LoginOutcome::kAccepted : LoginOutcome::kUncounted;
    const auto now = module_->Token(before.slot);
    const PinFlags flags = now ? FlagsSince(before, *now) : PinFlags{};
    return ClassifyLogin(base::Status(login.error()), known_good, flags);
  }

  base::Status WithGuard(const pkcs11::TokenInfo& token, const std::function<void(PinGuard&)>& edit) const {
    return memory_->Change(PinMemoryName(token), [&](std::string& text) -> base::Status {
      TRY(PinGuard guard, PinGuard::Parse(text, token));
      edit(guard);
      text = guard.Format();
      return {};
    });
  }

  void CheckKey(const encoding::Pkcs11Uri& uri) {
    const std::string name = encoding::FormatPkcs11Uri(uri);
    std::size_t found = 0;
    for (const auto& token : open_) {
      if (!uri.TokenMatches(token.info.label, token.info.serial, token.info.manufacturer, token.info.model)) continue;
      auto key = token.session.FindKey({uri.object, uri.id});
      if (key) {
        ++found;
        Describe(name, token, *key);
      } else if (key.error().code != base::Code::kNotFound) {
        ++found;
        Add(false, "key", fmt::format("{}: {}", name, base::Describe(key.error())));
      } else if (!token.logged_in && DescribePublicHalf(name, token, uri)) {
        ++found;
      }
    }
    if (found == 0) Add(false, "key", name + ": no key in the configured tokens fits" + Hint());
    if (found > 1) Add(false, "key", name + ": fits keys in more than one token: name the token in the URI");
  }

  std::string Hint() const {
    for (const auto& token : open_) {
      if (!token.logged_in) return "; without --login private keys may be invisible";
    }
    return "";
  }

  bool DescribePublicHalf(const std::string& name, const OpenToken& token, const encoding::Pkcs11Uri& uri) {
    const auto handles = token.session.FindPublicKeys({uri.object, uri.id}, 2);
    if (!handles || handles->empty()) return false;
    if (handles->size() > 1) {
      Add(false, "key", name + ": more than one public key fits: name it by id as well");
      return true;
    }
    const auto key = token.session.ReadPublicKey(handles->front());
    if (!key) {
      Add(false, "key", fmt::format("{}: {}", name, base::Describe(key.error())));
      return true;
    }
    Add(true, "key",
        fmt::format("{}: public half in '{}', {} {}, keyID {} as the token shows it; the private half is invisible "
                    "without --login",
                    name, token.info.label, encoding::Name(key->algorithm()), key->bits(), key->keyID()));
    const auto algorithms = module_->SignatureAlgorithms(token.info.slot, key->algorithm(), key->bits());
    Mechanisms(name, algorithms.value_or(std::vector<encoding::SignatureAlgorithm>()));
    return true;
  }

  void Describe(const std::string& name, const OpenToken& token, const pkcs11::KeyRecord& key) {
    const bool usable = key.can_sign && !key.always_authenticate;
    Add(usable, "key",
        fmt::format("{}: in '{}', {} {}, keyID {} as the token shows it, {}, {}{}{}", name, token.info.label,
                    encoding::Name(key.public_key.algorithm()), key.public_key.bits(), key.public_key.keyID(),
                    key.sensitive ? "sensitive" : "NOT sensitive", key.extractable ? "EXTRACTABLE" : "not extractable",
                    key.can_sign ? "" : ", may not sign",
                    key.always_authenticate ? ", wants the PIN for every signature (not served)" : ""));
    Mechanisms(name, key.algorithms);
  }

  void Mechanisms(const std::string& name, const std::vector<encoding::SignatureAlgorithm>& algorithms) {
    std::string list;
    for (const auto algorithm : algorithms) {
      list += list.empty() ? "" : ", ";
      list += encoding::Info(algorithm).name;
    }
    if (list.empty()) return Add(false, "mechanism", name + ": the token offers no mechanism for this key");
    Add(true, "mechanism", name + ": " + list);
  }

  const CheckOptions& options_;
  const std::shared_ptr<PinMemory> memory_ = options_.pin_memory ? options_.pin_memory : MakeProcessPinMemory();
  const std::string holder_ = memory_->MakeHolder();
  CheckReport report_;
  std::shared_ptr<pkcs11::Module> module_;
  std::vector<pkcs11::TokenInfo> tokens_;
  std::vector<OpenToken> open_;
};

}  // namespace

void PrintCheckLine(const CheckLine& line) {
  std::printf("%-5s %-9s %s\n", line.ok ? "ok" : "FAIL", line.what.c_str(), base::PrintableLine(line.detail).c_str());
  std::fflush(stdout);
}

CheckReport Check(const CheckOptions& options) { return Checker(options).Run(); }

std::optional<int> ContinueCheckInChild(std::chrono::seconds limit) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    return std::nullopt;
  }
  if (child < 0) return std::nullopt;  // without the protection, then
  const base::UniqueFd ends(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  pollfd ended{ends.get(), POLLIN, 0};
  const auto wait = std::chrono::milliseconds(limit).count();
  const bool hung = ends.valid() && ::poll(&ended, 1, static_cast<int>(wait)) == 0;
  if (hung) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  const char* name = ::sigabbrev_np(WTERMSIG(status));
  PrintCheckLine(
      {false, "module",
       hung ? fmt::format("no answer in {} s: is the HSM reachable, and the module's configuration right?",
                          limit.count())
            : fmt::format("it crashed its process (SIG{}): the PKCS#11 module is damaged, or does not work here",
                          name == nullptr ? "?" : name)});
  return kExitHsm;
}

}  // namespace signet::token
