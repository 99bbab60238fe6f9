// main() of test programs that start HSM workers: the program itself is the worker.
//
// SIGNET_TEST_HOSTILE_WORKER names a file: while it is there, a worker writes what cannot be into the memory that it
// shares with the front. (The launcher keeps the environment that it was started with.)
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>

#include "token/channel.hpp"
#include "token/worker_hsm.hpp"

namespace {

int BeHostile() {
  using namespace signet::token;
  const auto rings = SharedRings::Map(kWorkerMemory);
  if (!rings) return 1;
  rings->to_worker().control->head = ~std::uint64_t{0};
  rings->to_front().control->tail = std::uint64_t{1} << 40;
  Ring(kWorkerSocket);
  while (TakeBell(kWorkerSocket) != Bell::kGone) {
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const bool worker = argc == 2 && signet::token::kWorkerArgument == argv[1];
  const char* hostile = std::getenv("SIGNET_TEST_HOSTILE_WORKER");
  if (worker && hostile != nullptr && ::access(hostile, F_OK) == 0) return BeHostile();
  if (const auto done = signet::token::MaybeRunWorker(argc, argv)) return *done;
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
