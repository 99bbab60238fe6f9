#include "kube/proxy.hpp"

#include <gtest/gtest.h>

#include "kube/impersonation.hpp"
#include "support/matchers.hpp"

namespace signet::kube {
namespace {

using base::Code;
using testing::IsErr;
using testing::IsOk;

TEST(ServerAddressTest, ReadsWhatClientGoReads) {
  const auto plain = ParseServer("https://api.example.com:6443/prefix/");
  ASSERT_THAT(plain, IsOk());
  EXPECT_EQ(plain->host, "api.example.com");
  EXPECT_EQ(plain->port, "6443");
  EXPECT_EQ(plain->path, "/prefix");
  EXPECT_EQ(plain->authority, "api.example.com:6443");
  const auto ipv6 = ParseServer("HTTPS://[::1]");
  ASSERT_THAT(ipv6, IsOk());
  EXPECT_TRUE(ipv6->IsIpv6());
  EXPECT_EQ(ipv6->host, "::1");
  EXPECT_EQ(ipv6->port, "443");
  EXPECT_EQ(ipv6->authority, "[::1]");
  const auto zone = ParseServer("https://[fe80::1%25eth0]:6443");
  ASSERT_THAT(zone, IsOk());
  EXPECT_EQ(zone->host, "fe80::1%eth0");
  EXPECT_EQ(zone->CertificateName(), "fe80::1");
  EXPECT_EQ(zone->authority, "[fe80::1]:6443");
  EXPECT_EQ(ParseServer("https://api.example.com.")->CertificateName(), "api.example.com");
}

TEST(ServerAddressTest, RefusesEverythingElse) {
  for (const char* url : {"",
                          "https://",
                          "http://h",
                          "h:6443",
                          "https://:6443",
                          "https://h:0",
                          "https://h:65536",
                          "https://h:1x",
                          "https://::1:6443",
                          "https://[::1",
                          "https://[h]:1",
                          "https://[::1]x",
                          "https://u@h",
                          "https://h?q",
                          "https://h#f",
                          "https://h\r\nX: y",
                          "https://h h",
                          "https://[::g]:1",
                          "ftp://h",
                          "https://h%41",
                          "https://h\\x"}) {
    EXPECT_THAT(ParseServer(url), IsErr(Code::kInvalidArgument, "ConfigInvalid")) << url;
  }
}

TEST(ProxyTest, ReadsTheThreeKinds) {
  const auto http = ParseProxy("http://user:p%40ss@proxy");
  ASSERT_THAT(http, IsOk());
  EXPECT_EQ(http->host + " " + http->port + " " + http->user + " " + http->password, "proxy 80 user p@ss");
  const auto socks = ParseProxy("socks5://[::1]");
  ASSERT_THAT(socks, IsOk());
  EXPECT_EQ(socks->kind, Proxy::Kind::kSocks5);
  EXPECT_EQ(socks->host + " " + socks->port, "::1 1080");
  EXPECT_EQ(ParseProxy("https://proxy/")->port, "443");
  for (const char* url :
       {"", "proxy:80", "ftp://proxy", "http://", "http://p:99999", "http://a%zz@p", "http://p\r\nX: y"}) {
    EXPECT_THAT(ParseProxy(url), IsErr(Code::kInvalidArgument, "ConfigInvalid")) << url;
  }
}

bool Proxied(const char* server, const char* no_proxy) {
  const auto found = ProxyFor(*ParseServer(server), {"http://proxy:3128", no_proxy});
  EXPECT_THAT(found, IsOk());
  return found && *found == "http://proxy:3128";
}

/// The cases of golang.org/x/net/http/httpproxy.
TEST(ProxyTest, DecidesAsGoDoes) {
  for (const char* never : {"https://localhost:1", "https://127.0.0.1:1", "https://127.9.9.9", "https://[::1]:1"}) {
    EXPECT_FALSE(Proxied(never, "")) << never;
  }
  EXPECT_TRUE(Proxied("https://example.com", ""));
  struct {
    const char* server;
    const char* no_proxy;
    bool proxied;
  } const cases[] = {
      {"https://example.com", "example.com", false},
      {"https://EXAMPLE.com", "Example.COM", false},
      {"https://a.example.com", "example.com", false},
      {"https://a.example.com", ".example.com", false},
      {"https://a.example.com", "*.example.com", false},
      {"https://example.com", ".example.com", true},
      {"https://example.com", "*.example.com", true},
      {"https://badexample.com", "example.com", true},
      {"https://example.com:6443", "example.com:6443", false},
      {"https://example.com:6443", "example.com:443", true},
      {"https://example.com", "example.com:443", false},
      {"https://example.com", "a.com, example.com ,b.com", false},
      {"https://example.com", "*", false},
      {"https://example.com", "x*", true},
      {"https://192.168.1.1", "192.168.1.1", false},
      {"https://192.168.1.1:6443", "192.168.1.1:6443", false},
      {"https://192.168.1.1:6443", "192.168.1.1:1", true},
      {"https://192.168.1.1", "192.168.0.0/16", false},
      {"https://192.169.1.1", "192.168.0.0/16", true},
      {"https://192.168.1.129", "192.168.1.128/25", false},
      {"https://192.168.1.127", "192.168.1.128/25", true},
      {"https://10.0.0.1", "0.0.0.0/0", false},
      {"https://[fd00::1]", "fd00::/8", false},
      {"https://[fd00::1]", "0.0.0.0/0", true},
      {"https://[fe00::1]", "fd00::/8", true},
      {"https://[fd00::1]:6443", "[fd00::1]:6443", false},
      {"https://[fd00::1]", "fd00::1", false},
      {"https://[fd00::1]", "FD00:0:0::1", false},
      {"https://example.com", "10.0.0.0/8,:443,", true},
      {"https://10.1.1.1", "10.0.0.0/33", true},
  };
  for (const auto& each : cases) {
    EXPECT_EQ(Proxied(each.server, each.no_proxy), each.proxied) << each.server << " " << each.no_proxy;
  }
}

TEST(ProxyTest, TakesHostAndPortForHttp) {
  EXPECT_EQ(*ProxyFor(*ParseServer("https://h"), {"proxy:3128", ""}), "http://proxy:3128");
  EXPECT_EQ(*ProxyFor(*ParseServer("https://h"), {"", ""}), "");
  EXPECT_THAT(ProxyFor(*ParseServer("https://h"), {"ftp://proxy", ""}), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(ProxyFor(*ParseServer("https://localhost"), {"ftp://proxy", ""}), IsOk()) << "not needed";
}

TEST(ImpersonationTest, RepeatsHeadersForGroupsAndExtraFields) {
  using Headers = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(ImpersonationHeaders({"jane", "7", {"a", "b"}, {{"k/x", {"1", "2"}}}}),
            (Headers{{"Impersonate-User", "jane"},
                     {"Impersonate-Uid", "7"},
                     {"Impersonate-Group", "a\r\nImpersonate-Group: b"},
                     {"Impersonate-Extra-k%2Fx", "1\r\nImpersonate-Extra-k%2Fx: 2"}}));
  EXPECT_EQ(ImpersonationHeaders({}), Headers());
}

}  // namespace
}  // namespace signet::kube
