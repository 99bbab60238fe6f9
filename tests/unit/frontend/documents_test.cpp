// The documents say what the code does: paths, codes and statuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "encoding/algorithm.hpp"
#include "frontend/problem.hpp"
#include "frontend/routes.hpp"

namespace signet::frontend {
namespace {

using ::testing::ContainerEq;

std::vector<std::string> Lines(const std::string& file) {
  std::ifstream in(std::string(SIGNET_SOURCE_DIR) + "/docs/" + file);
  EXPECT_TRUE(in.good()) << file;
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(OpenApiTest, NamesTheRoutesThatAreServed) {
  std::set<std::pair<std::string, std::string>> documented, served;
  std::string path;
  bool in_paths = false;
  for (const std::string& line : Lines("openapi.yaml")) {
    std::smatch match;
    if (!line.empty() && line[0] != ' ') in_paths = line == "paths:";
    if (!in_paths) continue;
    if (std::regex_match(line, match, std::regex("  (/[^:]*):"))) path = match[1];
    if (std::regex_match(line, match, std::regex("    (get|put|post|delete|patch|head|options):"))) {
      std::string method = match[1];
      for (char& c : method) c = static_cast<char>(std::toupper(c));
      documented.emplace(method, path);
    }
  }
  for (const Route& route : Routes()) served.emplace(route.method, route.path);
  EXPECT_THAT(documented, ContainerEq(served));
}

/// The items of the YAML list that follows the line `start`.
std::set<std::string> ListAfter(const std::vector<std::string>& lines, const std::regex& start) {
  std::set<std::string> items;
  bool seen = false, in_list = false;
  for (const std::string& line : lines) {
    std::smatch match;
    if (!seen) {
      seen = std::regex_match(line, start);
    } else if (std::regex_match(line, match, std::regex(" *- ([A-Za-z0-9]+)"))) {
      in_list = true;
      items.insert(match[1]);
    } else if (in_list) {
      break;
    }
  }
  return items;
}

TEST(OpenApiTest, NamesEveryCodeAndAlgorithm) {
  const auto lines = Lines("openapi.yaml");
  std::set<std::string> codes, algorithms;
  for (const auto& problem : Problems()) codes.emplace(problem.code);
  for (const auto& info : encoding::Algorithms()) algorithms.emplace(info.name);
  EXPECT_THAT(ListAfter(lines, std::regex("        code:")), ContainerEq(codes));
  EXPECT_THAT(ListAfter(lines, std::regex("    Algorithm:")), ContainerEq(algorithms));
}

TEST(ErrorsDocumentTest, ListsTheTableOfTheCode) {
  std::map<std::string, int> documented, known;
  for (const std::string& line : Lines("errors.md")) {
    std::smatch match;
    if (std::regex_match(line, match, std::regex(R"(\| `(\w+)` \| (\d+) \| [^|]+ \| [^|]+ \|)"))) {
      EXPECT_TRUE(documented.emplace(match[1], std::stoi(match[2])).second) << line;
    }
  }
  for (const auto& problem : Problems()) known.emplace(problem.code, problem.status);
  EXPECT_THAT(documented, ContainerEq(known));
}

TEST(ProblemsTest, EveryRowIsWhole) {
  for (const auto& problem : Problems()) {
    EXPECT_GE(problem.status, 400);
    EXPECT_FALSE(problem.title.empty());
    EXPECT_FALSE(problem.next.empty());
    EXPECT_EQ(problem.retry_after > 0, problem.status == 429 || problem.status == 503) << problem.code;
  }
}

}  // namespace
}  // namespace signet::frontend
