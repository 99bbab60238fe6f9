#include "config/exec_credential.hpp"
#include "fuzz/fuzz.hpp"
#include "kube/proxy.hpp"
#include "kube/server_address.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace signet;
  const auto text = fuzz::AsInput(data, size);
  if (const auto fetched = config::ParseExecCredential(text, config::kExecV1)) {
    const auto& credential = fetched->credential;
    HOLDS(!credential.token.empty() || !credential.certificate.empty());
    HOLDS(credential.certificate.empty() == credential.key.empty());
  }
  if (const auto server = kube::ParseServer(text)) {
    HOLDS(!server->host.empty() && !server->port.empty());
    const auto again = kube::ParseServer("https://" + server->authority + server->path);
    HOLDS(again && again->CertificateName() == server->CertificateName() && again->port == server->port);
    HOLDS(server->authority.find_first_of("\r\n @") == std::string::npos);
    HOLDS(kube::ProxyFor(*server, {"http://proxy:1", std::string(text)}).has_value());
  }
  if (const auto proxy = kube::ParseProxy(text)) {
    HOLDS(!proxy->host.empty() && !proxy->port.empty() && proxy->user.size() <= 255);
    HOLDS(proxy->host.find_first_of("\r\n ") == std::string::npos);
  }
  HOLDS(kube::ProxyFor({"api.example.com", "6443", "", ""}, {"http://proxy:1", std::string(text)}).has_value());
  return 0;
}
