"""The kernel of ipykernel 6: what ipykernel 7 has in addition is one thread."""

from ipykernel.kernelapp import IPKernelApp


class App(IPKernelApp):
    def init_control(self, context):
        super().init_control(context)
        self.shell_channel_thread = None


App.launch_instance()
