"""How others find this server: its entry in Consul."""
