// main() of test programs that start HSM workers: the program itself is the worker.
#include <gmock/gmock.h>

#include "token/worker_hsm.hpp"

int main(int argc, char** argv) {
  if (const auto worker = signet::token::MaybeRunWorker(argc, argv)) return *worker;
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
