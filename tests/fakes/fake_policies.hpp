// tests/fakes/fake_policies.hpp - the policies that a test says.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "signing/service.hpp"

namespace signet::testing {

class FakePolicies final : public signing::PolicySource {
 public:
  [[nodiscard]] std::shared_ptr<const signing::ActivePolicy> Find(std::string_view name) const override {
    const auto it = all.find(name);
    return it == all.end() ? nullptr : it->second;
  }
  [[nodiscard]] std::vector<std::shared_ptr<const signing::ActivePolicy>> All() const override {
    std::vector<std::shared_ptr<const signing::ActivePolicy>> list;
    for (const auto& [name, policy] : all) list.push_back(policy);
    return list;
  }
  std::map<std::string, std::shared_ptr<const signing::ActivePolicy>, std::less<>> all;
};

}  // namespace signet::testing
