// tests/bench/direct_bench.cpp - the limit: C_Sign in this process, session and key handle reused.
//
// direct_bench MODULE TOKEN PIN_FILE KEY_LABEL ALGORITHM THREADS SECONDS
// Prints one JSON line. Works through p11-kit's client module as well (P11_KIT_SERVER_ADDRESS).
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
CK_FUNCTION_LIST* p11 = nullptr;

[[noreturn]] void Die(const std::string& what, CK_RV rv = 0) {
  std::fprintf(stderr, "direct_bench: %s (0x%lx)\n", what.c_str(), static_cast<unsigned long>(rv));
  std::exit(1);
}

void Need(CK_RV rv, const char* what) {
  if (rv != CKR_OK) Die(what, rv);
}

CK_SLOT_ID FindSlot(const std::string& label) {
  CK_ULONG count = 64;
  std::vector<CK_SLOT_ID> slots(count);
  Need(p11->C_GetSlotList(CK_TRUE, slots.data(), &count), "C_GetSlotList");
  for (CK_ULONG i = 0; i < count; ++i) {
    CK_TOKEN_INFO info{};
    if (p11->C_GetTokenInfo(slots[i], &info) != CKR_OK) continue;
    const std::string padded(reinterpret_cast<const char*>(info.label), sizeof(info.label));
    if (padded.substr(0, padded.find_last_not_of(' ') + 1) == label) return slots[i];
  }
  Die("no token " + label);
}

CK_OBJECT_HANDLE FindKey(CK_SESSION_HANDLE session, std::string label) {
  CK_OBJECT_CLASS cls = CKO_PRIVATE_KEY;
  CK_ATTRIBUTE search[] = {{CKA_CLASS, &cls, sizeof(cls)}, {CKA_LABEL, label.data(), label.size()}};
  CK_OBJECT_HANDLE key = 0;
  CK_ULONG found = 0;
  Need(p11->C_FindObjectsInit(session, search, 2), "C_FindObjectsInit");
  Need(p11->C_FindObjects(session, &key, 1, &found), "C_FindObjects");
  p11->C_FindObjectsFinal(session);
  if (found != 1) Die("no key " + label);
  return key;
}

struct Recipe {
  CK_MECHANISM_TYPE mechanism;
  std::string input;
};

Recipe RecipeOf(const std::string& algorithm) {
  const std::string digest(32, 'd');
  if (algorithm == "ECDSAWithSHA256") return {CKM_ECDSA, digest};
  if (algorithm == "PureEd25519") return {0x1057, digest};  // CKM_EDDSA, PKCS#11 3.0
  static const unsigned char kPrefix[] = {
      0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
      0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};  // RFC 8017 section 9.2
  if (algorithm == "SHA256WithRSA") return {CKM_RSA_PKCS, std::string(kPrefix, kPrefix + sizeof(kPrefix)) + digest};
  Die("algorithm " + algorithm);
}

void Sign(CK_SLOT_ID slot, const std::string& label, const Recipe& recipe, const std::atomic<bool>& stop,
          std::vector<float>& micros) {
  CK_SESSION_HANDLE session = 0;
  Need(p11->C_OpenSession(slot, CKF_SERIAL_SESSION, nullptr, nullptr, &session), "C_OpenSession");
  const CK_OBJECT_HANDLE key = FindKey(session, label);
  CK_MECHANISM mechanism{recipe.mechanism, nullptr, 0};
  std::string input = recipe.input;
  unsigned char signature[1024];
  while (!stop.load(std::memory_order_relaxed)) {
    const auto start = Clock::now();
    CK_ULONG size = sizeof(signature);
    Need(p11->C_SignInit(session, &mechanism, key), "C_SignInit");
    Need(p11->C_Sign(session, reinterpret_cast<CK_BYTE*>(input.data()), input.size(), signature, &size), "C_Sign");
    micros.push_back(std::chrono::duration<float, std::micro>(Clock::now() - start).count());
  }
}

double CpuSeconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) Die("usage: direct_bench MODULE TOKEN PIN_FILE KEY_LABEL ALGORITHM THREADS SECONDS");
  void* library = ::dlopen(argv[1], RTLD_NOW);
  if (library == nullptr) Die(::dlerror());
  const auto get = reinterpret_cast<CK_C_GetFunctionList>(::dlsym(library, "C_GetFunctionList"));
  Need(get(&p11), "C_GetFunctionList");
  CK_C_INITIALIZE_ARGS args{};
  args.flags = CKF_OS_LOCKING_OK;
  Need(p11->C_Initialize(&args), "C_Initialize");
  const CK_SLOT_ID slot = FindSlot(argv[2]);
  CK_SESSION_HANDLE parent = 0;
  Need(p11->C_OpenSession(slot, CKF_SERIAL_SESSION, nullptr, nullptr, &parent), "C_OpenSession");
  std::string pin;
  std::ifstream(argv[3]) >> pin;
  Need(p11->C_Login(parent, CKU_USER, reinterpret_cast<CK_BYTE*>(pin.data()), pin.size()), "C_Login");

  const Recipe recipe = RecipeOf(argv[5]);
  const int threads = std::atoi(argv[6]);
  std::atomic<bool> stop{false};
  std::vector<std::vector<float>> micros(static_cast<std::size_t>(threads));
  std::vector<std::thread> pool;
  const double cpu = CpuSeconds();
  const auto start = Clock::now();
  for (auto& mine : micros) pool.emplace_back([&] { Sign(slot, argv[4], recipe, stop, mine); });
  std::this_thread::sleep_for(std::chrono::duration<double>(std::atof(argv[7])));
  stop = true;
  for (auto& thread : pool) thread.join();
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::vector<float> all;
  for (const auto& mine : micros) all.insert(all.end(), mine.begin(), mine.end());
  if (all.empty()) Die("no signature was made");
  std::sort(all.begin(), all.end());
  std::printf(R"({"rate":%.1f,"p50_us":%.1f,"p99_us":%.1f,"cpu_us":%.1f,"errors":0})"
              "\n",
              static_cast<double>(all.size()) / seconds, all[all.size() / 2], all[all.size() * 99 / 100],
              (CpuSeconds() - cpu) * 1e6 / static_cast<double>(all.size()));
  return 0;
}
