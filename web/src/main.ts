// Starts the chat in the page.
import { mount } from 'svelte';
import './app.css';
import App from './App.svelte';
import { keepOffline } from './lib/worker';

const target = document.getElementById('app');
if (target) mount(App, { target });
keepOffline();
