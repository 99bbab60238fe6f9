// tests/support/temp_folder.hpp - a folder of one test, removed with it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

namespace signet::testing {

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "signet-XXXXXX").string();
    path_ = std::filesystem::canonical(::mkdtemp(pattern.data()));
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  void Write(std::string_view name, std::string_view text) const {
    std::ofstream(path_ / name, std::ios::binary | std::ios::trunc) << text;
  }
  /// As writers should do it: a temporary file and a rename, with a time far enough back to be settled.
  void Put(std::string_view name, std::string_view text) const {
    const auto temporary = path_ / ".put.tmp";
    std::ofstream(temporary, std::ios::binary | std::ios::trunc) << text;
    std::filesystem::last_write_time(temporary, std::filesystem::last_write_time(temporary) - std::chrono::seconds(1));
    std::filesystem::rename(temporary, path_ / name);
  }
  [[nodiscard]] std::string Read(std::string_view name) const {
    std::ostringstream text;
    text << std::ifstream(path_ / name, std::ios::binary).rdbuf();
    return text.str();
  }

 private:
  std::filesystem::path path_;
};

}  // namespace signet::testing
