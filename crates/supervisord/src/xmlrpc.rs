//! XML-RPC as supervisord and Python's `xmlrpc.client` speak it.
