#include "cli/statement.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <vector>

#include "base/environment.hpp"
#include "base/unique_fd.hpp"
#include "cli/request_text.hpp"
#include "crypto/ssh_signature.hpp"

namespace signet::cli {
namespace {

using base::Code;

base::Error Failed(std::string message) {
  return base::MakeError(Code::kFailedPrecondition, "SignerFailed", std::move(message));
}

struct Finished {
  std::string out;
  int status = 0;
};

/// stdin comes from memory: a program that does not read it cannot end us by SIGPIPE. stderr stays ours.
base::Result<Finished> RunProgram(const std::vector<std::string>& arguments, std::string_view input) {
  const base::UniqueFd in(memfd_create("signet-statement", MFD_CLOEXEC));
  if (!in.valid() || write(in.get(), input.data(), input.size()) != static_cast<ssize_t>(input.size()) ||
      lseek(in.get(), 0, SEEK_SET) != 0) {
    return Failed("no memory for the statement");
  }
  std::array<int, 2> pipe_ends{};
  if (pipe2(pipe_ends.data(), O_CLOEXEC) != 0) return Failed("no pipe");
  const base::UniqueFd reader(pipe_ends[0]);
  base::UniqueFd writer(pipe_ends[1]);
  std::vector<char*> argv;
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));  // NOLINT: not written to
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), STDOUT_FILENO);
  pid_t child = 0;
  auto environment = base::ChildEnvironment();
  const int spawned =
      posix_spawnp(&child, argv.front(), &actions, nullptr, argv.data(), base::EntryPointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  if (spawned != 0)
    return Failed(base::ErrnoError(Code::kInternal, "cannot run " + arguments.front(), spawned).message);
  writer.Close();
  Finished out;
  std::array<char, 4096> buffer{};
  for (;;) {
    const auto got = read(reader.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    if (out.out.size() <= crypto::kMaxSshSignature) out.out.append(buffer.data(), static_cast<std::size_t>(got));
  }
  while (waitpid(child, &out.status, 0) < 0 && errno == EINTR) {
  }
  return out;
}

}  // namespace

policy::ApprovalStatement StatementOf(const api::SigningRequest& request, const api::SigningPolicy& policy,
                                      std::string cluster, api::Decision decision, base::TimePoint issued_at,
                                      base::TimePoint expires_at) {
  policy::ApprovalStatement out;
  out.cluster = std::move(cluster);
  out.request_namespace = request.metadata.ns;
  out.request_name = request.metadata.name;
  out.request_uid = request.metadata.uid;
  out.digest = ContentDigest(request.spec);
  out.algorithm = encoding::Info(request.spec.algorithm.value_or(policy.spec.algorithms.front())).name;
  if (request.spec.artifact) {
    out.artifact_name = request.spec.artifact->name;
    out.artifact_media_type = request.spec.artifact->media_type;
  }
  out.policy_name = policy.metadata.name;
  out.policy_uid = policy.metadata.uid;
  out.policy_generation = policy.metadata.generation;
  out.decision = decision;
  out.issued_at = issued_at;
  out.expires_at = expires_at;
  return out;
}

base::Result<std::string> SignStatement(const std::string& statement, const Signer& signer) {
  const std::vector<std::string> arguments =
      signer.command.empty()
          ? std::vector<std::string>{"ssh-keygen", "-q",      "-Y",
                                     "sign",       "-n",      std::string(policy::kApprovalNamespace),
                                     "-f",         signer.key}
          : std::vector<std::string>{"/bin/sh", "-c", signer.command};
  TRY(auto finished, RunProgram(arguments, statement));
  const std::string name = signer.command.empty() ? "ssh-keygen" : "the command of --sign-with";
  if (!WIFEXITED(finished.status) || WEXITSTATUS(finished.status) != 0) {
    return Failed(fmt::format("{} did not sign (above is why); nothing was sent", name));
  }
  if (auto good = CheckSignature(statement, finished.out); !good) {
    return Failed(fmt::format("{} made something else: {}; nothing was sent", name, good.error().message));
  }
  return std::move(finished.out);
}

base::Status CheckSignature(const std::string& statement, const std::string& armored) {
  TRY(const auto parsed, crypto::ParseSshSignature(armored));
  return crypto::VerifySshSignature(parsed, parsed.key, policy::kApprovalNamespace, base::AsBytes(statement));
}

}  // namespace signet::cli
