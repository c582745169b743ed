// Files that the catalogue writes into its images.
#pragma once

namespace fairway::runtime {

inline constexpr char kBusyboxPasswd[] =
    "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/bin:/bin/false\ndaemon:x:2:2:daemon:/usr/sbin:/bin/false\n"
    "mail:x:8:8:mail:/var/spool/mail:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/"
    "false\n";
inline constexpr char kBusyboxGroup[] =
    "root:x:0:\nbin:x:1:\ndaemon:x:2:\ntty:x:5:\nmail:x:8:\nwheel:x:10:root\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n";
inline constexpr char kDebianPasswd[] =
    "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nbin:x:2:2:bin:/bin:/usr/sbin/"
    "nologin\nsys:x:3:3:sys:/dev:/usr/sbin/nologin\n"
    "mail:x:8:8:mail:/var/mail:/usr/sbin/nologin\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/"
    "nonexistent:/usr/sbin/nologin\n";
inline constexpr char kDebianGroup[] =
    "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\nmail:x:8:\nwww-data:x:33:\nstaff:x:50:\nusers:x:100:\nnogroup:x:65534:"
    "\n";

inline constexpr char kCurlEntrypoint[] =
    "#!/bin/sh\nset -e\n# Options, or a word that is no program here, are curl's.\n"
    "if [ \"${1#-}\" != \"$1\" ] || ! command -v \"$1\" >/dev/null 2>&1; then\n  set -- curl \"$@\"\nfi\nexec \"$@\"\n";

inline constexpr char kAlpineNote[] =
    "NAME=\"Fairway catalogue image in the place of Alpine Linux\"\nID=fairway-catalogue\nVERSION_ID=1\n"
    "PRETTY_NAME=\"busybox from Debian, in the place of Alpine Linux (no registry was reachable)\"\n";
inline constexpr char kNoApk[] =
    "#!/bin/sh\necho 'apk: this image is from Fairway'\\''s catalogue (busybox from Debian): it has no package manager' >&2\nexit 1\n";

inline constexpr char kNginxConf[] = R"(user  nginx;
worker_processes  auto;

error_log  /var/log/nginx/error.log notice;
pid        /run/nginx.pid;

events {
    worker_connections  1024;
}

http {
    include       /etc/nginx/mime.types;
    default_type  application/octet-stream;

    log_format  main  '$remote_addr - $remote_user [$time_local] "$request" '
                      '$status $body_bytes_sent "$http_referer" '
                      '"$http_user_agent" "$http_x_forwarded_for"';
    access_log  /var/log/nginx/access.log  main;

    client_body_temp_path  /var/cache/nginx/client_temp;
    proxy_temp_path        /var/cache/nginx/proxy_temp;
    fastcgi_temp_path      /var/cache/nginx/fastcgi_temp;
    uwsgi_temp_path        /var/cache/nginx/uwsgi_temp;
    scgi_temp_path         /var/cache/nginx/scgi_temp;

    sendfile           on;
    keepalive_timeout  65;

    include /etc/nginx/conf.d/*.conf;
}
)";

inline constexpr char kNginxDefaultConf[] = R"(server {
    listen       80;
    listen       [::]:80;
    server_name  localhost;

    location / {
        root   /usr/share/nginx/html;
        index  index.html index.htm;
    }

    error_page   500 502 503 504  /50x.html;
    location = /50x.html {
        root   /usr/share/nginx/html;
    }
}
)";

inline constexpr char kNginxMimeTypes[] = R"(types {
    text/html                 html htm shtml;
    text/css                  css;
    text/xml                  xml;
    text/plain                txt;
    text/markdown             md;
    application/javascript    js mjs;
    application/json          json;
    application/pdf           pdf;
    application/wasm          wasm;
    application/zip           zip;
    image/gif                 gif;
    image/jpeg                jpeg jpg;
    image/png                 png;
    image/svg+xml             svg svgz;
    image/webp                webp;
    image/x-icon              ico;
    font/woff                 woff;
    font/woff2                woff2;
    audio/mpeg                mp3;
    video/mp4                 mp4;
    application/octet-stream  bin exe dll iso img deb;
}
)";

inline constexpr char kNginxIndex[] = R"(<!DOCTYPE html>
<html>
<head>
<title>Welcome to nginx!</title>
<style>
html { color-scheme: light dark; }
body { width: 35em; margin: 0 auto;
font-family: Tahoma, Verdana, Arial, sans-serif; }
</style>
</head>
<body>
<h1>Welcome to nginx!</h1>
<p>If you see this page, the nginx web server is successfully installed and
working. Further configuration is required.</p>

<p>For online documentation and support please refer to
<a href="http://nginx.org/">nginx.org</a>.<br/>
Commercial support is available at
<a href="http://nginx.com/">nginx.com</a>.</p>

<p><em>Thank you for using nginx.</em></p>
</body>
</html>
)";

inline constexpr char kNginx50x[] =
    "<!DOCTYPE html>\n<html>\n<head><title>Error</title></head>\n<body>\n<h1>An error occurred.</h1>\n</body>\n</html>\n";

inline constexpr char kNginxEntrypoint[] = R"(#!/bin/sh
# Runs the scripts of /docker-entrypoint.d, as users of the image expect, then the command.
set -e
for script in /docker-entrypoint.d/*.sh; do
  [ -x "$script" ] && "$script"
done
exec "$@"
)";

}  // namespace fairway::runtime
