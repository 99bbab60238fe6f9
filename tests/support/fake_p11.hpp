// tests/support/fake_p11.hpp - the misbehaving module of one test: its configuration, key and call counts.
#pragma once

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>

#include "support/temp_folder.hpp"

namespace signet::testing {

class FakeP11 {
 public:
  FakeP11() {
    NewKey();
    folder_.Write("pin", "1234\n");
    ::setenv("FAKE_P11_CONFIG", (folder_.path() / "config").c_str(), 1);
    values_["key"] = (folder_.path() / "key.pem").string();
    values_["log"] = (folder_.path() / "calls").string();
    folder_.Write("calls", "");
    Store();
  }

  /// Takes effect with the next call of any process; an empty value removes the line.
  void Set(const std::string& name, const std::string& value) {
    values_[name] = value;
    if (value.empty()) values_.erase(name);
    Store();
  }
  /// Another key takes the place of the one that was there.
  void NewKey() const {
    const std::string path = (folder_.path() / "key.pem").string();
    const std::string command = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out " + path + ".tmp";
    if (std::system((command + " 2> /dev/null").c_str()) != 0) throw std::runtime_error("no openssl");
    std::filesystem::rename(path + ".tmp", path);
  }
  void SetPin(const std::string& pin) const { folder_.Put("pin", pin); }

  [[nodiscard]] int Calls(const std::string& function) const { return static_cast<int>(Pids(function).size()); }
  /// The processes that made the calls, one entry a call.
  [[nodiscard]] std::multiset<std::string> Pids(const std::string& function) const {
    std::multiset<std::string> pids;
    std::istringstream lines(folder_.Read("calls"));
    for (std::string name, pid; lines >> name >> pid;) {
      if (name == function) pids.insert(pid);
    }
    return pids;
  }
  [[nodiscard]] std::string pin_file() const { return (folder_.path() / "pin").string(); }
  [[nodiscard]] std::string state_dir() const { return (folder_.path() / "state").string(); }
  [[nodiscard]] const TempFolder& folder() const { return folder_; }

 private:
  void Store() const {
    std::ostringstream text;
    for (const auto& [name, value] : values_) text << name << '=' << value << '\n';
    folder_.Write("config.tmp", text.str());
    std::filesystem::rename(folder_.path() / "config.tmp", folder_.path() / "config");
  }

  TempFolder folder_;
  std::map<std::string, std::string> values_;
};

}  // namespace signet::testing
