// hsm_bench [SECONDS]: P-256 signatures per second, in-process against WorkerHsm, on a SoftHSM token of its own.
//
// Prints one line a row: name, operations per second, ratio to "direct 1 thread", CPU per operation. Quote ratios of
// one run.
#include <sys/resource.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.hpp"
#include "http/asio_reactor.hpp"
#include "pkcs11/session.hpp"
#include "support/softhsm.hpp"
#include "token/worker_hsm.hpp"

namespace {

using namespace signet;
using encoding::SignatureAlgorithm;

const base::Bytes kDigest(32, 0x5a);
constexpr const char* kKeyUri = "pkcs11:object=bench";

[[noreturn]] void Fail(const base::Error& error) {
  std::fprintf(stderr, "hsm_bench: %s\n", base::Describe(error).c_str());
  std::exit(1);
}
template <class T>
T Must(base::Result<T> result) {
  if (!result) Fail(result.error());
  return *std::move(result);
}
void Must(const base::Status& status) {
  if (!status) Fail(status.error());
}

double Now() { return std::chrono::duration<double>(base::SystemClock().Steady().time_since_epoch()).count(); }

/// CPU seconds of this process and of the workers it has ended; unlike rates, fair on a busy machine.
double Cpu() {
  double total = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    ::getrusage(who, &usage);
    for (const timeval& part : {usage.ru_utime, usage.ru_stime}) {
      total += static_cast<double>(part.tv_sec) + static_cast<double>(part.tv_usec) / 1e6;
    }
  }
  return total;
}

struct Rate {
  double per_second = 0;
  long count = 0;
};

Rate Direct(int threads, double seconds) {
  auto module = Must(pkcs11::Module::Load(testing::SoftHsm::module()));
  const auto tokens = Must(module->AwaitTokens([](const pkcs11::TokenInfo&) { return true; }, 10));
  const auto slot = tokens.front().slot;
  auto parent = Must(pkcs11::Session::Open(module, slot, pkcs11::Session::Mode::kReadWrite));
  Must(parent.Login(base::AsBytes(testing::SoftHsm::kPin)));
  if (!parent.FindKey({"bench", {}})) {
    Must(parent.GenerateKeyPair(encoding::KeyAlgorithm::kEcdsa, 256, "bench", base::Bytes{1}));
  }
  const auto key = Must(parent.FindKey({"bench", {}}));
  std::atomic<long> total{0};
  const double begin = Now();
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&] {
      auto session = Must(pkcs11::Session::Open(module, slot, pkcs11::Session::Mode::kReadOnly));
      long count = 0;
      while (Now() - begin < seconds) {
        for (int j = 0; j < 32; ++j) {
          Must(session.Sign(key.handle, SignatureAlgorithm::kEcdsaWithSha256, 256, kDigest).signature);
        }
        count += 32;
      }
      total += count;
    });
  }
  for (auto& thread : running) thread.join();
  return {static_cast<double>(total) / (Now() - begin), total};
}

/// Keeps `in_flight` signatures running until the time is over.
class Pump {
 public:
  Pump(const testing::SoftHsm& softhsm, std::uint32_t workers, int in_flight, double seconds)
      : in_flight_(in_flight), seconds_(seconds), workers_(workers) {
    token::WorkerHsmOptions options;
    options.module = testing::SoftHsm::module();
    options.tokens = {{std::nullopt, softhsm.pin_file()}};
    options.workers_per_token = workers;
    hsm_ = Must(token::WorkerHsm::Create(std::move(options), *reactor_));
    hsm_->OnStateChange([this] { Wait(); });
    Wait();
  }

  Rate Run() {
    reactor_->Run();
    return {static_cast<double>(count_) / (Now() - begin_), count_};
  }

 private:
  void Wait() {
    if (started_ || hsm_->State().workers_ready < workers_) {
      reactor_->After(std::chrono::milliseconds(20), [this] {
        if (!started_) Wait();
      });
      return;
    }
    started_ = true;
    hsm_->Find(*encoding::ParsePkcs11Uri(kKeyUri), [this](base::Result<token::KeyInfo> key) {
      key_ = Must(std::move(key)).ref;
      begin_ = Now();
      for (int i = 0; i < in_flight_; ++i) Next();
    });
  }
  void Next() {
    hsm_->Sign(key_, SignatureAlgorithm::kEcdsaWithSha256, kDigest, [this](base::Result<base::Bytes> signature) {
      Must(std::move(signature));
      ++count_;
      if (count_ % 32 == 0 && Now() - begin_ > seconds_) reactor_->Stop();
      Next();
    });
  }

  int in_flight_;
  double seconds_;
  std::uint32_t workers_;
  bool started_ = false;
  token::KeyRef key_ = 0;
  long count_ = 0;
  double begin_ = 0;
  std::unique_ptr<http::AsioReactor> reactor_ = http::AsioReactor::Create();
  std::unique_ptr<token::WorkerHsm> hsm_;
};

}  // namespace

int main(int argc, char** argv) {
  if (const auto worker = token::MaybeRunWorker(argc, argv)) return *worker;
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3.0;
  const testing::SoftHsm softhsm;
  double direct = 0;
  const auto row = [&](const std::string& name, const auto& measure) {
    const double before = Cpu();
    const Rate rate = measure();
    if (direct == 0) direct = rate.per_second;
    std::printf("%-36s %8.0f op/s  %5.2f  %6.1f us CPU\n", name.c_str(), rate.per_second, rate.per_second / direct,
                (Cpu() - before) / static_cast<double>(rate.count) * 1e6);
    std::fflush(stdout);
  };
  row("direct 1 thread", [&] { return Direct(1, seconds); });
  row("direct 4 threads", [&] { return Direct(4, seconds); });
  for (const std::uint32_t workers : {1u, 2u}) {
    for (const int in_flight : {1, 4, 16}) {
      row("WorkerHsm " + std::to_string(workers) + " workers, " + std::to_string(in_flight) + " in flight",
          [&] { return Pump(softhsm, workers, in_flight, seconds).Run(); });
    }
  }
  return 0;
}
