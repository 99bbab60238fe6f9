#include "frontend/answers.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "crypto/public_key.hpp"
#include "encoding/algorithm.hpp"
#include "encoding/text.hpp"
#include "frontend/problem.hpp"
#include "obs/log.hpp"

namespace signet::frontend {
namespace {

using encoding::AppendJsonString;

base::Result<base::Bytes> Encode(const signing::Signed& done, SignatureEncoding encoding) {
  if (encoding == SignatureEncoding::kAsn1) return done.signature;
  const auto half = static_cast<std::size_t>((done.public_key.bits() + 7) / 8);
  return crypto::EcdsaDerToP1363(done.signature, half);
}

base::Status AppendSigned(const signing::Signed& done, SignatureEncoding encoding, std::string& out) {
  TRY(const base::Bytes signature, Encode(done, encoding));
  out += R"({"signature":")";
  out += encoding::ToBase64(signature);
  out += R"(","algorithm":")";
  out += encoding::Info(done.algorithm).name;
  out += R"(","keyID":)";
  AppendJsonString(out, done.public_key.keyID());
  out += R"(,"record":)";
  AppendJsonString(out, done.record);
  out += '}';
  return {};
}

/// Routes see to it that p1363 is asked of ECDSA only; a failure here is a bug or a broken HSM.
Problem CannotEncode(const base::Error& error, const signing::Signed& done) {
  obs::Err("a signature could not be written as asked", {{"record", done.record}, {"error", Describe(error)}});
  return MakeProblem("Internal");
}

void AppendKey(const signing::ActivePolicy& active, bool with_public_key, std::string& out) {
  const api::SigningPolicy& policy = active.compiled->policy();
  out += R"({"policy":)";
  AppendJsonString(out, policy.metadata.name);
  out += R"(,"algorithms":[)";
  for (std::size_t i = 0; i < policy.spec.algorithms.size(); ++i) {
    if (i > 0) out += ',';
    AppendJsonString(out, encoding::Info(policy.spec.algorithms[i]).name);
  }
  out += ']';
  if (active.key) {
    const crypto::PublicKey& key = active.key->public_key;
    out += R"(,"keyID":)";
    AppendJsonString(out, key.keyID());
    out += R"(,"algorithm":)";
    AppendJsonString(out, encoding::Name(key.algorithm()));
    out += R"(,"size":)";
    out += std::to_string(key.bits());
    if (with_public_key) {
      out += R"(,"publicKey":)";
      AppendJsonString(out, key.pem());
    }
  }
  out += active.key ? R"(,"ready":true)" : R"(,"ready":false)";
  if (!active.key) {
    out += R"(,"reason":)";
    AppendJsonString(out, active.not_ready_reason.empty() ? "KeyNotReady" : std::string_view(active.not_ready_reason));
    out += R"(,"message":)";
    AppendJsonString(out, active.not_ready_message);
  }
  out += policy.spec.suspend ? R"(,"suspended":true})" : R"(,"suspended":false})";
}

}  // namespace

http::Response SignResponse(const signing::SigningService::Answer& answer, SignatureEncoding encoding) {
  if (!answer) return ToResponse(FromRefused(answer.error()));
  http::Response response;
  if (const auto written = AppendSigned(*answer, encoding, response.body); !written) {
    return ToResponse(CannotEncode(written.error(), *answer));
  }
  return response;
}

http::Response BatchResponse(const std::vector<signing::SigningService::Answer>& answers,
                             const std::vector<SignatureEncoding>& encodings) {
  http::Response response;
  response.body.reserve(answers.size() * 320);
  response.body = R"({"results":[)";
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (i > 0) response.body += ',';
    const auto& answer = answers[i];
    if (answer) {
      const auto written = AppendSigned(*answer, encodings[i], response.body);
      if (written) continue;
      response.body += R"({"error":)";
      AppendProblem(CannotEncode(written.error(), *answer), response.body);
    } else {
      response.body += R"({"error":)";
      AppendProblem(FromRefused(answer.error()), response.body);
    }
    response.body += '}';
  }
  response.body += "]}";
  return response;
}

http::Response AuthoritiesResponse(std::string_view pem) {
  if (pem.empty()) return ToResponse(MakeProblem("NotReady", "the gateway's authority is being read"));
  http::Response response;
  response.body = R"({"certificates":)";
  AppendJsonString(response.body, pem);
  response.body += '}';
  return response;
}

http::Response KeysResponse(std::vector<std::shared_ptr<const signing::ActivePolicy>> policies) {
  std::sort(policies.begin(), policies.end(), [](const auto& a, const auto& b) {
    return a->compiled->policy().metadata.name < b->compiled->policy().metadata.name;
  });
  http::Response response;
  response.body = R"({"keys":[)";
  for (std::size_t i = 0; i < policies.size(); ++i) {
    if (i > 0) response.body += ',';
    AppendKey(*policies[i], false, response.body);
  }
  response.body += "]}";
  return response;
}

http::Response KeyResponse(const signing::ActivePolicy& policy, bool as_json) {
  http::Response response;
  if (as_json) {
    AppendKey(policy, true, response.body);
    return response;
  }
  if (!policy.key) return ToResponse(MakeProblem("KeyNotReady", policy.not_ready_message));
  response.content_type = "application/x-pem-file";
  response.body = policy.key->public_key.pem();
  return response;
}

}  // namespace signet::frontend
