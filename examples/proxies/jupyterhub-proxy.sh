# JupyterHub's proxy by itself; a Hub starts it so, and tells it of its users' servers.
configurable-http-proxy --port=443 \
  --ssl-cert=/etc/ssl/certs/jupyter.example.org.pem \
  --ssl-key=/etc/ssl/private/jupyter.example.org.key \
  --default-target=http://127.0.0.1:8888
